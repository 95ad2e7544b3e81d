"""Attacks with pictures: what they take of a frontend, and what others notice of them."""
