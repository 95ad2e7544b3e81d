"""Keeps what a frontend knows of its workers, ranks and models, as plain data."""
