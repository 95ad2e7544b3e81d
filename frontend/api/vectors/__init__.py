"""Texts are embedded, ranked and scored by these endpoints."""
