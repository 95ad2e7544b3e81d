"""One index in a process of its own: told what to do by bench.kv.index, a JSON line a command;
answers with a JSON line each.

Runs under the peer's interpreter too, so it imports nothing that is not in the standard library
until a candidate needs it.
"""

import gc
import json
import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

Event = list[Any]
"""[rank, medium, parent, hex of hashes]."""
PROMPT_TOKENS = 8192
PROMPTS = 8


class Driver(Protocol):
    """An index behind its own wire form.

    `encode_*` is not timed; `apply` takes wire bytes and is.
    """

    def encode_stores(self, events: list[Event]) -> list[Any]: ...
    def encode_removals(self, events: list[Event]) -> list[Any]: ...
    def apply(self, encoded: list[Any]) -> None: ...
    def drop(self, rank: int) -> None: ...
    def overlaps(self, hashes: list[int]) -> tuple[list[int] | None, list[int]]:
        """Leading blocks by rank, in GPU memory (None: the index cannot tell) and in any medium."""
        ...

    def prompt(self, token_ids: list[int]) -> Any:
        """The tokens as hash_prompt takes them."""
        ...

    def hash_prompt(self, prompt: Any) -> Sequence[int]: ...
    def extra(self) -> dict[str, float]:
        """Measures that only this index has."""
        ...


def unhex(text: str) -> list[int]:
    return list(memoryview(bytes.fromhex(text)).cast("Q"))


def timed(work: Callable[[], object]) -> dict[str, float]:
    """Seconds. CPU is that of all threads."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}


def rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Bench:
    """The commands; each method's name is one."""

    def __init__(self, driver: Driver, path: Path) -> None:
        work = json.loads(path.read_text())
        self.driver, self.ranks = driver, int(work["ranks"])
        self.stores: list[Event] = work["stores"]
        self.churn_rows: list[list[Any]] = work["churn"]
        self.queries: dict[str, list[list[int]]] = {
            kind: [unhex(text) for text in texts] for kind, texts in work["queries"].items()
        }
        rng = random.Random(7)
        self.loads = [rng.random() * 100 for _ in range(self.ranks)]
        self.token_ids = [
            [rng.randrange(150_000) for _ in range(PROMPT_TOKENS)] for _ in range(PROMPTS)
        ]
        self.prompts = [driver.prompt(token_ids) for token_ids in self.token_ids]

    def build(self) -> dict[str, Any]:
        """All events from an empty index; memory is what the process grew by."""
        gc.collect()
        before = rss_bytes()
        total = {"cpu": 0.0, "wall": 0.0}
        for start in range(0, len(self.stores), 500):
            encoded = self.driver.encode_stores(self.stores[start : start + 500])
            for key, value in timed(lambda encoded=encoded: self.driver.apply(encoded)).items():
                total[key] += value
        gc.collect()
        bytes_grown = rss_bytes() - before
        return {**total, "bytes": bytes_grown, "gc": timed(gc.collect)}

    def churn(self, size: int, chains: int, back: bool) -> dict[str, Any]:
        """Takes the last blocks of `chains` tails away and puts others there, in events of `size`
        blocks; `back` undoes it.
        """
        removals: list[Event] = []
        stores: list[Event] = []
        for rank, medium, parent, old, new in self.churn_rows[:chains]:
            gone, come = (new, old) if back else (old, new)
            step, before = size * 16, parent
            pieces = [gone[at : at + step] for at in range(0, len(gone), step)]
            removals.extend([rank, medium, None, piece] for piece in reversed(pieces))
            for at in range(0, len(come), step):
                stores.append([rank, medium, before, come[at : at + step]])
                before = unhex(come[at : at + step])[-1]
        # Removals and stores of different chains alternate in production; here each kind is timed
        # on its own.
        taken, put = self.driver.encode_removals(removals), self.driver.encode_stores(stores)
        return {
            "remove": timed(lambda: self.driver.apply(taken)),
            "store": timed(lambda: self.driver.apply(put)),
            "blocks": chains * 64,
        }

    def query(self, kind: str) -> dict[str, Any]:
        """Overlaps alone, of every prompt of the kind once."""
        queries, overlaps = self.queries[kind], self.driver.overlaps
        spent = timed(lambda: [overlaps(hashes) for hashes in queries])
        return {**spent, "n": len(queries), "answers": [overlaps(hashes) for hashes in queries]}

    def decide(self, kind: str) -> dict[str, Any]:
        """A router's whole decision: hash the prompt, look it up, choose the cheapest rank."""
        queries = self.queries[kind]
        return {
            **timed(
                lambda: [
                    self._decide(self.prompts[i % PROMPTS], hashes)
                    for i, hashes in enumerate(queries)
                ]
            ),
            "n": len(queries),
        }

    def _decide(self, prompt: Any, hashes: list[int]) -> int:
        self.driver.hash_prompt(prompt)  # same work as for the prompt that `hashes` stand for
        _, runs = self.driver.overlaps(hashes)
        blocks = len(hashes)
        costs = [blocks - run + load for run, load in zip(runs, self.loads, strict=True)]
        return costs.index(min(costs))

    def hashing(self) -> dict[str, Any]:
        """From what the decision starts with, and from a list of ints."""
        driver = self.driver
        packed = timed(lambda: [driver.hash_prompt(prompt) for prompt in self.prompts])
        listed = timed(
            lambda: [driver.hash_prompt(driver.prompt(token_ids)) for token_ids in self.token_ids]
        )
        return {"packed": packed, "listed": listed, "n": PROMPTS}

    def drop(self, rank: int) -> dict[str, Any]:
        """`replace` is a drop and a snapshot's blocks; then the rank is dropped once more, timed
        alone, and filled again.
        """
        snapshot = self.driver.encode_stores([event for event in self.stores if event[0] == rank])

        def replace() -> None:
            self.driver.drop(rank)
            self.driver.apply(snapshot)

        replaced, dropped = timed(replace), timed(lambda: self.driver.drop(rank))
        extra = self.driver.extra()
        self.driver.apply(snapshot)
        return {"replace": replaced, "drop": dropped, "extra": extra}


def driver_of(candidate: str, ranks: int) -> Driver:
    if candidate == "dynamo":
        from bench.kv.indexes.dynamo_tree import DynamoTree  # noqa: PLC0415  only its own interpreter has it

        return DynamoTree(ranks)
    from bench.kv.indexes.driver import PythonIndex  # noqa: PLC0415  the peer's interpreter lacks what it needs

    return PythonIndex(candidate, ranks)


def main() -> None:
    candidate, path = sys.argv[1], Path(sys.argv[2])
    bench = Bench(driver_of(candidate, int(sys.argv[3])), path)
    for line in sys.stdin:
        command, arguments = json.loads(line)
        print(json.dumps(getattr(bench, command)(**arguments)), flush=True)


if __name__ == "__main__":
    main()
