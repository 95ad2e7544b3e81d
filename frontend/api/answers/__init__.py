"""Answers are made of what choices gain: chunks, blocks, log probabilities and counts."""
