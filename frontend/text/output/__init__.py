"""Turns the tokens of a choice into what its client is told."""
