"""A worker for tests of `kvmesh up` on hosts without a GPU: it notes where it was placed, and who
served by then, and runs the simulated engine.
"""

import argparse
import json
import os
import sys
import urllib.error
import urllib.request

from workers.app import run


def _ready() -> int:
    """How many workers served when this one was started."""
    try:
        with urllib.request.urlopen(os.environ["HEALTH_URL"], timeout=10) as answer:
            page = json.load(answer)
    except urllib.error.HTTPError as error:
        page = json.load(error)
    except OSError:  # the frontend starts beside us
        return 0
    return sum(worker["ready"] for worker in page["workers"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--base-gpu-id")
    parser.add_argument("--mem-fraction-static")
    parser.add_argument("--engine")
    placed, rest = parser.parse_known_args(sys.argv[1:])
    note = [placed.base_gpu_id, placed.mem_fraction_static, _ready()]
    with open(os.environ["PLACES"], "a", encoding="utf-8") as places:  # noqa: PTH123 - one write
        places.write(json.dumps(note) + "\n")
    raise SystemExit(run(["--engine", "sim", *rest]))
