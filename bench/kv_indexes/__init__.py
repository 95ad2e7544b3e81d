"""Candidates for the router's prefix index, and what bench.kv_index does with them."""
