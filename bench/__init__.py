"""Measures what kvmesh's budgets are held to: load generators, peers and tables.

Not installed with the packages.
"""
