"""Measures the prefix index: beside other structures, and after ten million block events."""
