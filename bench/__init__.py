"""Load generators, peers and tables: what kvmesh's budgets are measured with.

Not installed with the packages.
"""
