"""The types of worker: a file each, and the table of them (registry.py)."""
