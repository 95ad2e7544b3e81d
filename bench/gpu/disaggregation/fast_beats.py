"""`python -m bench.gpu.disaggregation.fast_beats ARGUMENTS`: a worker that tells its load fifty
times a second instead of four, so that what frees a page can be timed.
"""

import runpy

from protocol import limits

if __name__ == "__main__":
    limits.HEARTBEAT_INTERVAL_S = 0.02  # type: ignore[misc]  # before anything has taken it
    runpy.run_module("workers", run_name="__main__", alter_sys=True)
