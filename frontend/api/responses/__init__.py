"""OpenAI's responses are served as chats, without a store: their requests are turned into these,
and what chats gain into items and events.
"""
