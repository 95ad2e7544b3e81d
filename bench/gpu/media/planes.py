"""What it takes to hand the encoding of a picture from one process to another: in frames, and read
out of memory with NIXL.
"""

import secrets
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import Any, Final

from starter.responder import Responder
from tests.unit.nixl.media_process import asked

MIB: Final = 1 << 20
SIZES: Final = {"2 MB": 2 * MIB, "8 MB": 8 * MIB, "33 MB": 33 * MIB}
TIMES: Final = 15
"""Fetches measured of each size, after three that are not."""
WAYS: Final[Mapping[str, tuple[str, bool]]] = {
    "frames": ("off", False),
    "memory": ("auto", False),
    "frames, key": ("off", True),
    "memory, key": ("auto", True),
    "network, key": ("network", True),
}
"""Way → what --encodings-nixl says, and whether the mesh has a key."""


def planes(scratch: Path) -> dict[str, Any]:
    """Medians for each way and size: milliseconds from question to answer, and of CPU in both
    processes.
    """
    key = scratch / "key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    found: dict[str, Any] = {}
    for way, (use, keyed) in WAYS.items():
        with ExitStack() as stack:
            door, client = (
                stack.enter_context(
                    Responder(
                        [
                            *(sys.executable, "-m", "tests.unit.nixl.media_process", role, use),
                            *("OFFERED_BYTES_MIN=1", *([f"KEY={key}"] if keyed else ())),
                        ],
                        log=scratch / f"{way} {role}.log",
                    )
                )
                for role in ("door", "client")
            )
            agents = [asked(side, "ready") for side in (door, client)]
            if use != "off" and not all(agents):
                log = (scratch / f"{way} door.log").read_text()
                found[way] = {"failed": f"NIXL has no agent: {log[-1000:]}"}
                continue
            found[way] = {name: _fetched(door, client, size) for name, size in SIZES.items()}
    return found


def _fetched(door: Responder, client: Responder, size: int) -> dict[str, Any]:
    address, told = asked(door, "address"), list[dict[str, Any]]()
    for number in range(3 + TIMES):
        asked(door, "make", number, size)
        before_s = asked(door, "state")["cpu_s"]
        each = asked(client, "fetch", address, number, size)
        each["cpu_ms"] = each.get("cpu_ms", 0) + 1_000 * (asked(door, "state")["cpu_s"] - before_s)
        asked(door, "drop", number, size)
        told.append(each)
    return {
        "right": sum(each.get("right", False) for each in told),
        "read": sum(each.get("read", False) for each in told),
        "of": len(told),
        "wall_ms": round(median(each.get("wall_ms", 0) for each in told[3:]), 2),
        "cpu_ms": round(median(each["cpu_ms"] for each in told[3:]), 2),
    }
