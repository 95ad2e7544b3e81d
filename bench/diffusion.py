"""What clients of the demo that draws see of real SGLang's generator when they leave, and when what
draws for them dies.

    python -m bench.diffusion [--name diffusion] [--rows waiting,first-step]

Leavers and deaths inside a worker have one worker, deaths of a worker two. Each fault hits an order
of many steps in mid-flight, and an order of the usual size comes behind it. Writes
bench/results/NAME.json.
"""

import argparse
import json
import os
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from bench.compare.systems import machine
from bench.diffusion_fleet import GENERATOR, RANK, START_S_MAX, Drawing, drawing, runs

RESULTS: Final = Path(__file__).parent / "results"
USUAL: Final[dict[str, Any]] = {
    "prompt": "a red circle on blue",
    "response_format": "b64_json",
    "seed": 7,
}
LONG_STEPS: Final = 100
LONG: Final = USUAL | {"num_inference_steps": LONG_STEPS, "seed": 8}
SHOWN: Final = LONG | {"stream": True, "partial_images": 1}
"""Shows a picture in the middle."""


@dataclass
class Row:
    """What came of a fault; seconds from it on.

    Attributes:
        seen: by the client whose order it hit.
        over_s: until that client had its answer, or the worker had forgotten the order that
            waited; None: it had left, and the next one tells.
        next_s: until the next order was answered, asked at once, and `equal` whether as ever.
        left: processes and folders of generators more than before.
    """

    name: str
    fault: str
    seen: str = ""
    over_s: float | None = None
    next_s: float = 0.0
    equal: bool = False
    left: int = 0
    more: dict[str, Any] = field(default_factory=dict[str, Any])


Play = Callable[[Drawing, Row, bytes], None]


def left_when(reached: Callable[[Drawing, socket.socket], None], body: dict[str, Any]) -> Play:
    """A play in which a client leaves as soon as something is reached."""

    def play(made: Drawing, row: Row, _: bytes) -> None:
        connection = made.begin(body)
        reached(made, connection)
        connection.close()
        left_at = time.monotonic()
        with ThreadPoolExecutor(1) as threads:
            following = threads.submit(made.ask, USUAL)
            row.next_s = _seconds_until(following, left_at)
        row.seen = "nothing: it had left"
        row.more["picture"] = following.result()[1]

    return play


def _seconds_until(answer: "Future[tuple[str, bytes]]", since: float) -> float:
    answer.result()
    return time.monotonic() - since


def waiting(made: Drawing, row: Row, long: bytes) -> None:
    """A client leaves whose order waits behind another one."""
    with ThreadPoolExecutor(1) as threads:
        before = threads.submit(made.ask, LONG)
        made.wait_for(1)
        connection = made.begin(LONG)
        made.wait_for(2)
        connection.close()
        left_at = time.monotonic()
        made.wait_for(1)
        row.over_s = time.monotonic() - left_at
        said, picture = before.result()
    row.seen = f"nothing: it had left; the one before it: {said}{_as_ever(picture, long)}"


def hit(fault: Callable[[Drawing, str], None]) -> Play:
    """A play in which something happens to the worker that draws."""

    def play(made: Drawing, row: Row, long: bytes) -> None:
        with ThreadPoolExecutor(1) as threads:
            asked = threads.submit(made.ask, LONG)
            made.wait_for(1)
            (busy,) = (name for name, orders in made.orders().items() if orders)
            hit_at = time.monotonic()
            fault(made, busy)
            row.over_s = _seconds_until(asked, hit_at)
            said, picture = asked.result()
        row.seen = said + _as_ever(picture, long)
        if (ended := made.workers[busy].popen.poll()) is not None or row.name == "drain":
            ended = made.workers[busy].popen.wait(30)
            row.more["exit_code"] = ended

    return play


def _as_ever(picture: bytes, undisturbed: bytes) -> str:
    return "" if not picture else ", as ever" if picture == undisturbed else ", ANOTHER one"


def killed(mark: str) -> Callable[[Drawing, str], None]:
    """Kills a process of the only generator."""
    return lambda made, _: os.kill(made.processes(mark)[0], signal.SIGKILL)


def signalled(number: int) -> Callable[[Drawing, str], None]:
    """Sends a signal to the worker."""
    return lambda made, busy: made.workers[busy].popen.send_signal(number)


def _read_until(mark: bytes) -> Callable[[Drawing, socket.socket], None]:
    def read(_: Drawing, connection: socket.socket) -> None:
        heard = b""
        while mark not in heard:
            heard += connection.recv(65_536) or mark

    return read


PLAYS: Final[dict[str, tuple[int, str, Play]]] = {
    "waiting": (1, "a client leaves while its order waits", waiting),
    "first-step": (
        *(1, "a client leaves as soon as its order is begun"),
        left_when(lambda made, _: made.wait_for(1), LONG),
    ),
    "middle": (
        *(1, f"a client leaves in the middle of {LONG_STEPS} steps"),
        left_when(_read_until(b"partial_image"), SHOWN),
    ),
    "fetched": (
        *(1, "a client leaves while its picture is fetched"),
        left_when(_read_until(b"HTTP/1.1"), USUAL),
    ),
    "generator": (1, "the generator is killed (SIGKILL)", hit(killed(GENERATOR))),
    "rank": (1, "a rank of it is killed", hit(killed(RANK))),
    "worker": (2, "one of two workers is killed", hit(signalled(signal.SIGKILL))),
    "drain": (2, "one of two workers is told to stop (SIGTERM)", hit(signalled(signal.SIGTERM))),
}


def played(made: Drawing, name: str, usual: bytes, long: bytes) -> Row:
    """A row, and everything as before it."""
    workers, fault, play = PLAYS[name]
    before, row = made.leftovers(), Row(name, fault)
    play(made, row, long)
    if not row.next_s:
        asked_at = time.monotonic()
        row.more["picture"] = made.ask(USUAL)[1]
        row.next_s = time.monotonic() - asked_at
    row.equal = row.more.pop("picture") == usual
    for lost in [name for name, each in made.workers.items() if not each.alive()]:
        made.add(lost)
    made.fleet.wait_for_workers(workers, wait_s_max=START_S_MAX)
    made.wait_for(0)
    row.left = max(0, made.leftovers() - before)  # a new generator has made fewer folders
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="diffusion")
    parser.add_argument("--rows", default=",".join(PLAYS))
    args = parser.parse_args()
    report: dict[str, Any] = {
        "machine": machine(),
        "steps": LONG_STEPS,
        "rows": [],
        "still_running": [],
    }
    for workers in (1, 2):
        names = [name for name in args.rows.split(",") if PLAYS[name][0] == workers]
        if not names:
            continue
        with drawing(workers) as made:
            usual, long, began = made.ask(USUAL)[1], made.ask(LONG)[1], time.monotonic()
            made.ask(USUAL)
            report["usual_s"] = time.monotonic() - began
            made.ask(LONG)
            report["long_s"] = time.monotonic() - began - report["usual_s"]
            for name in names:
                row = played(made, name, usual, long)
                print(row, flush=True)
                report["rows"].append(asdict(row))
            pids = made.processes()
        report["still_running"].append(sum(map(runs, pids)))
    (RESULTS / f"{args.name}.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
