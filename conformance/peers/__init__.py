"""Our own tests of what comparable servers' public suites ask: whoever moves from there finds the
same.
"""
