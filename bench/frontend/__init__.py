"""Measures parts of the frontend by themselves: HTTP servers, and tokenizing a growing chat."""
