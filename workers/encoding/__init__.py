"""Pictures are encoded by one worker for others: both sides of it, whatever the engine."""
