"""`python -m bench.frontend.memory`: what a frontend's memory is made of, with a vocabulary of 32k
and with one of 151k, and what a tokenizer's library takes of it.

Each frontend has one simulated worker and is given rows of bench.compare, one after the other. Its
memory is read as soon as a row ends, and once it has had nothing to do for REST_S. Two minutes;
written to bench/results/memory.json.
"""

import json
import re
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any, Final

from bench.compare.systems import machine
from bench.compare.tables import STANDARD, Row
from bench.frontend.library_memory import LIBRARIES
from bench.kit import usage
from bench.kit.load import run_load
from bench.kit.running import Starting, chat_ok
from bench.kit.workloads import LOCAL, MODEL_NAME, Corpus, ensure_model_dir, write_bodies
from starter.addresses import Addresses, worker_command
from starter.pages import port_open
from starter.process import REPO

ROWS: Final = ("chat_64", "streams_64", "prompt_8k", "prompt_32k", "prompt_128k")
REST_S: Final = 12.0
"""Is longer than what a frontend waits until it gives memory back."""

LARGE_VOCABULARY: Final = 151_936
"""Is Qwen's. Its own takes 4 MiB more than the one made here, whose tokens are shorter."""

_WORDS: Final = 120_000
_MAPPING: Final = re.compile(r"^[0-9a-f]+-[0-9a-f]+ ")


def large_model_dir() -> Path:
    """A model directory whose vocabulary is learnt from made-up words, in seconds."""
    random = Random(1)
    words = [
        "".join(random.choices("etaoinshrdlucmfwypvbgk", k=random.randint(3, 10)))
        for _ in range(_WORDS)
    ]
    lines = [" ".join(words[at : at + 16]) for at in range(0, _WORDS, 16)]
    return ensure_model_dir(LOCAL / "model_151k", LARGE_VOCABULARY, lines * 2)


def parts_mib(pid: int) -> dict[str, float]:
    """Resident memory by what it is: files, the C library's heap, pages that ask to be huge (the
    tokenizer's tables), and the rest (Python's own, large blocks, stacks).
    """
    parts: Counter[str] = Counter()
    path, resident_kib = "", 0
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        key, _, value = line.partition(":")
        if _MAPPING.match(line):
            path = [*line.split(maxsplit=5), ""][5]
        elif key == "Rss":
            resident_kib = int(value.split()[0])
        elif key == "VmFlags":
            parts[_part(path, value.split())] += resident_kib
    return {part: round(kib / 1024, 1) for part, kib in parts.items()}


def _part(path: str, flags: list[str]) -> str:
    if path.startswith("/"):
        return "files"
    return "heap" if path == "[heap]" else "tables" if "hg" in flags else "others"


def read(pid: int) -> dict[str, Any]:
    """What it has now."""
    return {
        "rss_mib": round(usage.rss_mib(pid), 1),
        "peak_mib": round(usage.peak_rss_mib(pid), 1),
        "parts_mib": parts_mib(pid),
    }


def measure(model_dir: Path) -> dict[str, Any]:
    """One frontend's memory, from its start to its rest."""
    addresses, corpus, found = Addresses(), Corpus(model_dir), dict[str, Any]()
    with ExitStack() as stack:
        starting = Starting(stack, LOCAL / "logs")
        options = ("--cache-dir", str(LOCAL / "kvmesh-cache"), "--log-level", "warning")
        frontend = starting.process("memory", addresses.frontend_command(*options))
        starting.wait("frontend", [frontend], lambda: port_open(addresses.http_port))
        found["started"] = read(frontend.pid)
        worker = starting.process(
            "memory-worker",
            worker_command(
                [addresses.mesh],
                *("--engine", "sim", "--sim-speedup", "0", "--log-level", "warning"),
                *("--model-path", str(model_dir), "--served-model-name", MODEL_NAME),
            ),
        )
        starting.wait("model", [frontend, worker], lambda: chat_ok(addresses.http_port))
        found["with_the_model"] = read(frontend.pid)
        for row in STANDARD:
            if row.name in ROWS:
                _load(addresses.http_port, row, corpus)
                found[row.name] = read(frontend.pid)
        time.sleep(REST_S)
        found["rested"] = read(frontend.pid)
    return found


def _load(port: int, row: Row, corpus: Corpus) -> None:
    bodies = write_bodies(row.build(corpus, 1), LOCAL / "bodies.jsonl")
    run_load(port, bodies, concurrency=row.concurrency, duration_s=row.duration_s)
    bodies.unlink()


def library_mib(library: str, model_dir: Path) -> float:
    """What a library adds to a process that reads the tokenizer with it and encodes a word."""
    command = [sys.executable, "-m", "bench.frontend.library_memory", library]
    done = subprocess.run(
        [*command, str(model_dir / "tokenizer.json")],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPO,
    )
    return float(done.stdout)


def main() -> None:
    """Measures and writes."""
    models = {"32k": ensure_model_dir(), "151k": large_model_dir()}
    found: dict[str, Any] = {"machine": machine(), "rest_s": REST_S, "vocabularies": {}}
    for name, model_dir in models.items():
        moments = measure(model_dir)
        libraries = {library: library_mib(library, model_dir) for library in LIBRARIES}
        found["vocabularies"][name] = {"moments": moments, "libraries_mib": libraries}
        for moment, told in moments.items():
            print(name, moment, told)
        print(name, libraries)
    out = REPO / "bench/results/memory.json"
    out.write_text(json.dumps(found, indent=1) + "\n")
    print(out)


if __name__ == "__main__":
    main()
