"""Holds candidates for the router's prefix index, and what bench.kv.index does with them."""
