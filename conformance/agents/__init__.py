"""Agents from npm, unmodified, at work against the stack."""
