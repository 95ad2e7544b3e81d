"""Prompts of texts and chats become token ids, here or in a worker."""
