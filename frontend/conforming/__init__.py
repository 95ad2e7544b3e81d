"""Whole answers against the schemas that they were asked to conform to."""
