"""Builds the load generator and the bare server, which are written in C."""
