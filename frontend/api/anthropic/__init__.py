"""Anthropic's messages are served as chats: their requests are turned into these, and what chats
gain into answers and events.
"""
