"""Encodings are read out of the memory of the worker that made them, where both have NIXL."""
