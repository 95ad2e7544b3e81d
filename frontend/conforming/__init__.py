"""Holds whole answers to the schemas that they were asked to conform to."""
