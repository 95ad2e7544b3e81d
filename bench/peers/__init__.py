"""Runs other systems for the same load in the same run; each is installed into a virtual
environment of its own beside .venv.
"""
