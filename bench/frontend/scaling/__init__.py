"""Measures what frontend processes of one port bring that have cores of their own."""
