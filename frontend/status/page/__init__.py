"""Holds the status page's own files."""
