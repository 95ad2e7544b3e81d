"""Anthropic's messages: their requests turned into chats, and what chats gain turned into their
answers and events.
"""
