"""Runs agents from npm, unmodified, against the stack."""
