"""What clients see of a real generator of pictures when they leave, and when it dies."""

from collections.abc import Iterator
from typing import Any

from bench.figures.markdown import machine, number, result, table


def sections() -> Iterator[str]:
    """One section: a row for each fault."""
    found = result("diffusion")
    rows = [
        [
            row["fault"],
            row["seen"],
            "" if row["over_s"] is None else f"{number(row['over_s'])} s",
            f"{number(row['next_s'])} s",
            _next(row),
        ]
        for row in found["rows"]
    ]
    ended = sum(found["still_running"])
    yield f"""\
## Faults where pictures are made

`python -m bench.diffusion`: the demo that draws by SGLang's own generator, \
{machine(found["machine"])}, other suites running beside it. A fault hits an order of \
{found["steps"]} steps, which takes {number(found["long_s"])} s undisturbed; the one behind it, \
{number(found["usual_s"])} s, is asked for at once where a client left, and else when the first \
has its answer. One that waits is forgotten within a heartbeat, of which there are four a second. \
Processes and folders of generators that were left after any row: \
{sum(row["left"] for row in found["rows"])}; that ran after the fleets' ends: {ended}.

{table(["fault", "seen by the client", "over after", "next order after", ""], rows)}"""


def _next(row: dict[str, Any]) -> str:
    told = "as ever" if row["equal"] else "ANOTHER picture"
    code = row["more"].get("exit_code")
    return f"next: {told}" + ("" if code is None else f"; the worker's exit code: {code}")
