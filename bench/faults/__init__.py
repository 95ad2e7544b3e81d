"""Faults under load: what clients see of them, how soon they are noticed and how long until the
tokens come again; and a long soak.
"""
