"""`python -m bench.kv.index`: candidates for the router's prefix index beside Dynamo's radix tree,
on the same events and prompts.

Every index lives in a process of its own, all at once, and they take turns measure by measure and
round by round. Times are medians; CPU counts all threads of the process. All answers are compared.
Two to three minutes; Dynamo is installed at first use.
"""

import argparse
import json
import statistics
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.compare.systems import machine
from bench.kv.indexes import check, workload
from bench.kv.indexes.candidates import CANDIDATES
from bench.peers import install
from starter.process import REPO
from starter.responder import Responder

LOCAL = REPO / "bench/results/local"
CHURN = {1: 64, 8: 512, 64: 1024}
"""Blocks an event → chains whose last 64 blocks are exchanged in a round."""
KINDS = ("miss", "hot", "full", "hot_full", "stairs")
DYNAMO = "dynamo"
Row = dict[str, Any]


class Worker:
    """A bench.kv.indexes.worker."""

    def __init__(self, candidate: str, python: Path, work: Path, ranks: int) -> None:
        self.candidate = candidate
        self._responder = Responder(
            [python, "-m", "bench.kv.indexes.worker", candidate, work, ranks]
        )
        self.found: dict[str, list[float]] = {}

    def ask(self, command: str, **arguments: object) -> Row:
        return json.loads(self._responder.ask(json.dumps([command, arguments])))

    def note(self, key: str, spent: Row, *, per: float, unit: str) -> None:
        """Keeps wall and CPU time of one of `per` units of work."""
        scale = {"us": 1e6, "ms": 1e3}[unit] / per
        for clock in ("wall", "cpu"):
            self.found.setdefault(f"{key}_{unit}_{clock}", []).append(spent[clock] * scale)

    def rate(self, key: str, spent: list[Row], blocks: int) -> None:
        """Keeps million blocks a second of wall time, and CPU µs a block."""
        self.found.setdefault(f"{key}_mblocks_s", []).append(
            blocks / sum(each["wall"] for each in spent) / 1e6
        )
        self.found.setdefault(f"{key}_cpu_us_block", []).append(
            sum(each["cpu"] for each in spent) * 1e6 / blocks
        )

    def medians(self) -> dict[str, float]:
        return {key: round(statistics.median(values), 3) for key, values in self.found.items()}

    def end(self) -> None:
        self._responder.close(20)


def measure(ranks: int, *, tiered: bool, rounds: int, dynamo: Path | None) -> Row:
    """All indexes at `ranks` ranks."""
    path = LOCAL / "kv_index_work.json"
    workload.write(path, ranks, tiered=tiered)
    work = json.loads(path.read_text())
    entries, distinct = work["entries"], work["distinct"]
    workers = [Worker(name, Path(sys.executable), path, ranks) for name in CANDIDATES]
    if dynamo is not None:
        workers.append(Worker(DYNAMO, dynamo, path, ranks))
    try:
        for worker in workers:
            built = worker.ask("build")
            worker.rate("fill", [built], entries)
            worker.found["bytes_per_entry"] = [built["bytes"] / entries]
            worker.found["bytes_per_distinct"] = [built["bytes"] / distinct]
            worker.note("full_gc", built["gc"], per=1, unit="ms")
        for number in range(rounds):
            take_turns(
                workers[number % len(workers) :] + workers[: number % len(workers)], number, ranks
            )
        return {
            "ranks": ranks,
            "tiered": tiered,
            "entries": entries,
            "distinct": distinct,
            "by_index": {w.candidate: w.medians() for w in workers},
        }
    finally:
        for worker in workers:
            worker.end()


def take_turns(workers: list[Worker], number: int, ranks: int) -> None:
    """One round of every measure. An even number of churns leaves every index as it was."""
    for size, chains in CHURN.items():
        for worker in workers:
            for back in (False, True):
                spent = worker.ask("churn", size=size, chains=chains, back=back)
                worker.rate(f"store_{size}", [spent["store"]], spent["blocks"])
                worker.rate(f"remove_{size}", [spent["remove"]], spent["blocks"])
                worker.rate(
                    f"update_{size}", [spent["store"], spent["remove"]], 2 * spent["blocks"]
                )
    for kind in KINDS:
        answers: list[tuple[str, Any]] = []
        for worker in workers:
            spent = worker.ask("query", kind=kind)
            worker.note(f"query_{kind}", spent, per=spent["n"], unit="us")
            answers.append((worker.candidate, spent["answers"]))
            decided = worker.ask("decide", kind=kind)
            worker.note(f"decide_{kind}", decided, per=decided["n"], unit="us")
        assert_same(kind, answers)
    for worker in workers:
        hashed = worker.ask("hashing")
        for key in ("packed", "listed"):
            worker.note(f"hash_{key}", hashed[key], per=hashed["n"], unit="us")
        spent = worker.ask("drop", rank=number % ranks)
        for key in ("replace", "drop"):
            worker.note(key, spent[key], per=1, unit="ms")
        for key, value in spent["extra"].items():
            worker.found.setdefault(key, []).append(value)


def assert_same(kind: str, answers: list[tuple[str, Any]]) -> None:
    """Every index finds what the first one finds; Dynamo's tree knows no media."""
    first, expected = next(pair for pair in answers if pair[0] != DYNAMO)
    for name, found in answers:
        same = (
            found == expected
            if name != DYNAMO
            else [runs for _, runs in found] == [runs for _, runs in expected]
        )
        assert same, f"{name} and {first} disagree on {kind}"


COLUMNS = (
    ("fill", "fill_mblocks_s"),
    ("upd 1", "update_1_mblocks_s"),
    ("upd 8", "update_8_mblocks_s"),
    ("upd 64", "update_64_mblocks_s"),
    ("cpu/1", "update_1_cpu_us_block"),
    ("cpu/64", "update_64_cpu_us_block"),
    ("B/entry", "bytes_per_entry"),
    ("B/dist", "bytes_per_distinct"),
    *((kind, f"query_{kind}_us_cpu") for kind in KINDS),
    ("dec hot", "decide_hot_us_cpu"),
    ("wall", "decide_hot_us_wall"),
    ("dec worst", "decide_stairs_us_cpu"),
    ("hash", "hash_packed_us_cpu"),
    ("+pack", "hash_listed_us_cpu"),
    ("drop", "drop_ms_wall"),
    ("replace", "replace_ms_wall"),
    ("gc", "full_gc_ms_wall"),
)


def show(run: Row) -> None:
    print(
        f"\n{run['ranks']} ranks{', tiered' if run['tiered'] else ''}: {run['entries']} "
        f"entries, {run['distinct']} distinct blocks"
    )
    print(
        "fill, upd N: million blocks/s in events of N (wall); cpu/N: CPU µs a block; miss … "
        "hash: CPU µs; drop, replace, gc: ms"
    )
    print(f"{'':20}" + "".join(f"{title:>10}" for title, _ in COLUMNS))
    for name, row in run["by_index"].items():
        print(f"{name:20}" + "".join(f"{row[key]:>10.4g}" for _, key in COLUMNS), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without-dynamo", action="store_true")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=REPO / "bench/results/kv_index.json")
    arguments = parser.parse_args()
    LOCAL.mkdir(parents=True, exist_ok=True)
    check.check_all()
    dynamo = None if arguments.without_dynamo else install.ensure("dynamo")
    result: Row = {
        "machine": machine(),
        "versions": {"xxhash": version("xxhash"), "dynamo": "1.6.1" if dynamo else None},
        "runs": [],
    }
    for ranks, tiered in ((64, False), (64, True), (8, False), (512, False)):
        run = measure(ranks, tiered=tiered, rounds=arguments.rounds, dynamo=dynamo)
        show(run)
        result["runs"].append(run)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
