"""Holds the instructions of a chat and a token to committed bounds, beside a bare ASGI app's."""
