"""Says of what part of a frontend's work the samples of a profiler are. Pure."""

from collections import Counter
from collections.abc import Iterable
from typing import Final

REST: Final = "loop and system calls between"
"""Is what no frame of ours is in: the loop itself, and what it waits for or wakes."""

OTHER_THREADS: Final = "threads beside the loop's"
"""Is what no sample shows: ZeroMQ's thread, which has no Python."""

PARTS: Final[tuple[tuple[str, tuple[str, ...]], ...]] = (
    ("HTTP in", ("frontend/http/guarded_protocol", "frontend/http/incoming_body")),
    ("HTTP out", ("frontend/http/cycle", "frontend/http/sending", "frontend/http/json_slices")),
    ("exchange", ("frontend/http/", "frontend/api/application", "frontend/drain")),
    ("template", ("frontend/text/templates/", "jinja2/", "<template>")),
    ("tokens", ("frontend/text/tokenizing/", "frontend/api/prompts/", "frontend/models/")),
    (
        "records",
        (
            *("frontend/api/recording", "frontend/observe/", "frontend/status/"),
            *("frontend/inflight/course", "frontend/inflight/request_log", "logging/"),
        ),
    ),
    ("fields", ("frontend/api/fields/", "frontend/api/launching", "frontend/api/named_models")),
    ("routing", ("frontend/routing/", "kv_events/")),
    ("mesh", ("frontend/mesh/", "frontend/fleet/", "protocol/")),
    ("answer", ("frontend/api/", "frontend/text/output/", "frontend/inflight/")),
)
"""Lists each part with what the paths of its files begin with, behind a checkout's or a library's
folder. The first part that matches counts.
"""

_UVICORN: Final = "uvicorn/protocols/http/"
_OUT: Final = ("send", "on_response_complete")


def part_of(frames: Iterable[str]) -> str:
    """Returns the part that a stack belongs to: that of its innermost frame that has one.

    Args:
        frames: "function (path:line)", outermost first.
    """
    for frame in reversed(list(frames)):
        if _UVICORN in frame:
            method = frame.partition(" (")[0].rpartition(".")[2]
            return "HTTP out" if method in _OUT else "HTTP in"
        for part, beginnings in PARTS:
            if any(f"/{each}" in frame or f"({each}" in frame for each in beginnings):
                return part
    return REST


def shares(raw: Iterable[str]) -> dict[str, float]:
    """Returns the share of each part in a profile of py-spy's raw format: a stack a line, frames
    between semicolons, and how often it was seen.
    """
    counts: Counter[str] = Counter()
    for line in raw:
        stack, _, seen = line.rpartition(" ")
        frames = stack.split(";")
        if any("frontend/__main__" in frame for frame in frames):
            counts[part_of(frames)] += int(seen)
    total = counts.total()
    return {part: count / total for part, count in counts.items()} if total else {}
