"""A worker's process starts, watches other processes, and leaves for a reason that it tells."""
