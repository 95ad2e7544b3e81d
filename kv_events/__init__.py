"""Turns the KV-cache events of engines into what routing knows: which rank holds which prefix.

    in the worker    sglang_wire → engine_stream → block_table → publisher
                     (one numbered stream a DP rank)
    in the frontend  subscriber → rank_feed → index
                     (which rank holds which prefix)

`hashing` is what both sides must agree on.
"""
