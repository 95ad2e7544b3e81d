"""Keeps the frontend's side of the mesh: which workers there are, and the requests running on
them.
"""
