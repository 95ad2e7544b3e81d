"""Breaks a fleet under load, and measures what clients see of it, how soon it is noticed and how
long until the tokens come again; runs a long soak.
"""
