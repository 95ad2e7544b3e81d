"""Asks, in tests of our own, what comparable servers' public suites ask: whoever moves from there
finds the same.
"""
