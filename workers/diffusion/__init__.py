"""Pictures and videos that a worker makes: a queue, one order at a time, and what was made."""
