"""Sends every parameter that OpenAI's client can send: each has its effect, is refused by name, or
is named as one that has none.
"""
