"""An engine without a model: SGLang's scheduling shape, a timing model, deterministic text, faults
on demand.

It stands in for GPUs in load tests of everything but the engine, and lets people try kvmesh without
one.
    settings.py  → scheduler.py (pure; one per DP rank) ← kv_pool.py ← radix_cache.py → kv_outlet.py
    (KV events)
    engine.py    → runner.py (event loop, pacing)         text.py, vocabulary.py, namespace.py,
    timing.py, faults.py
"""
