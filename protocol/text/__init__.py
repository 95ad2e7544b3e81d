"""Makes text of token ids as they come, and finds where stop strings and patterns end it."""
