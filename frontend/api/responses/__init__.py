"""OpenAI's responses, without a store: their requests turned into chats, and what chats gain turned
into their items and events.
"""
