"""Every parameter that OpenAI's client can send, sent: each has its effect, is refused by name, or
is named as one that has none.
"""
