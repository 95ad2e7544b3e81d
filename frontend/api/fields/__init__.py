"""Fields of requests are checked here, and become what the engine and the frontend go by."""
