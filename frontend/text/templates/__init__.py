"""Renders chats as prompts by the model's own template, within bounds."""
