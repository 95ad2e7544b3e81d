"""What clients see of a real generator of pictures when they leave, and when it dies; and its speed
alone and through the mesh.
"""

from collections.abc import Iterator
from typing import Any

from bench.figures.markdown import machine, number, result, table


def sections() -> Iterator[str]:
    """Two sections: a row for each fault, and one for each way to pictures."""
    yield _faults(result("diffusion"))
    yield _speeds(result("diffusion_gpu"))


def _speeds(found: dict[str, Any]) -> str:
    speeds, shares = found["pictures a second"], found["share of alone"]
    rows = [[name, f"{speed:.2f}", f"{shares[name] * 100:.1f} %"] for name, speed in speeds.items()]
    return f"""\
## Pictures by SGLang's generator, alone and through the mesh, on one GPU

`python -m bench.gpu.diffusion`, {found["gpus"][0]}: a pipeline of Flux's kind with 1.2 billion \
parameters of random weights, PyTorch's attention, {number(found["side"])} x \
{number(found["side"])} pixels in {found["steps"]} steps; medians of {len(found["rounds"])} rounds \
in turns, 24 pictures a turn. Alone it gives pixels to one caller and writes nothing; "to a file" \
is DiffGenerator as it comes. The mesh gives PNG as base64.

{table(["", "pictures a second", "of alone"], rows)}"""


def _faults(found: dict[str, Any]) -> str:
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
    return f"""\
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
