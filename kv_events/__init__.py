"""From KV-cache events to the knowledge that routing needs.

    in the worker    sglang_wire → engine_stream → block_table → publisher      one numbered stream
    a DP rank
    in the frontend  subscriber → index                                         which rank holds
    which prefix

`hashing` is what both sides must agree on.
"""
