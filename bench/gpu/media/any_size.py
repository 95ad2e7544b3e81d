"""`python -m bench.gpu.media.any_size ARGUMENTS`: a worker that has even small encodings read out
of its memory, so that the demo model's are.
"""

import runpy

from workers.nixl import offers

if __name__ == "__main__":
    offers.OFFERED_BYTES_MIN = {False: 1, True: 1}  # type: ignore[misc]  # before anything has taken it
    runpy.run_module("workers", run_name="__main__", alter_sys=True)
