"""Follows requests from their first leg to their end, and moves them when a worker is lost."""
