"""Holds the routing policies, one a file, and the table of their modes."""
