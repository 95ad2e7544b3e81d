"""Holds what a chat and a token cost to a committed bound, beside a bare ASGI app."""
