"""kvmesh beside NVIDIA Dynamo and SGLang's gateway, on simulated engines."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from bench.figures.markdown import machine, number, pair, result, table

PEERS: Final = {
    "kvmesh": "kvmesh",
    "dynamo-rr": "Dynamo, round-robin",
    "dynamo-kv": "Dynamo, kv",
    "dynamo-fastokens": "Dynamo, fastokens",
    "gateway": "SGLang's gateway",
}

ON_SIXTEEN_CORES: Final = {
    "kvmesh": "kvmesh",
    "asgi": "a bare ASGI app",
    "dynamo-rr": "Dynamo, round-robin",
    "dynamo-fastokens-kv": "Dynamo, kv and fastokens",
    "gateway": "SGLang's gateway",
}

MODES: Final = {
    "kvmesh": "kvmesh, kv",
    "kvmesh-round-robin": "kvmesh, round-robin",
    "kvmesh-least-loaded": "kvmesh, least-loaded",
    "dynamo-kv": "Dynamo, kv",
    "dynamo-rr": "Dynamo, round-robin",
}

UNITS: Final = {
    "req_per_s": "requests/s",
    "tokens_per_s": "tokens/s",
    "e2e_p50_ms": "ms to the last byte, p50",
    "frontend_cpu_us_per_token": "µs of the frontend's CPU a token",
}


def sections() -> Iterator[str]:
    """A section for each result that a peer is in."""
    yield _standard()
    yield _sixteen_cores()
    yield _prefix()


def _cpu(key: str, median: dict[str, Any]) -> str:
    unit, by = ("µs a token", "us_per_token") if "token" in key else ("ms a request", "ms_per_req")
    front, behind = (median[f"{side}_cpu_{by}"] for side in ("frontend", "behind"))
    value = "" if key.startswith("frontend_cpu") else f"{number(median[key])}: "
    merged = median["tokens_per_event"] or 1.0
    more = f"; {merged:.0f} tokens in an event" if round(merged) > 1 else ""
    return f"{value}{number(front)} + {number(behind)} {unit}{more}"


def _work(found: dict[str, Any], names: Iterable[str]) -> list[list[str]]:
    """A line for each row; nothing where a system has no part in it."""
    return [
        [f"{row['title']} ({UNITS[row['headline']]})"]
        + [
            _cpu(row["headline"], row["systems"][name]["median"]) if name in row["systems"] else ""
            for name in names
        ]
        for row in found["rows"].values()
    ]


def _sixteen_cores() -> str:
    found, since = result("standard_16_cores"), result("chat_16_cores")
    alone = {name: ON_SIXTEEN_CORES[name] for name in ("kvmesh", "gateway", "asgi")}
    return f"""\
## Beside its peers, on sixteen cores

The same on a host of its own: {machine(found["machine"])}; {found["rounds"]} rounds, 3 of the paced
rows. Each system had all cores: Dynamo and the gateway spread one process over as many as there is
work for; kvmesh had one frontend process and one simulated worker, so that what it answers is what
one core of either does ([more processes](#frontend-processes-on-cores-of-their-own)). It was before
messages waited no longer than two milliseconds for the others of their turn ([decision
54](decisions/0054-zmtp-on-the-loop.md)). The bare app does nothing but answer, in Python.

{table(["work", *ON_SIXTEEN_CORES.values()], _work(found, ON_SIXTEEN_CORES))}

Since then, on another such host, {since["rounds"]} rounds:

{table(["work", *alone.values()], _work(since, alone))}"""


def _standard() -> str:
    found = result("standard")
    rows = _work(found, PEERS)
    for moment, told in (
        ("after_load", "after the rows without limit"),
        ("after_load_paced", "after the paced rows"),
    ):
        memory = found["memory"][moment]
        rows.append(
            [f"memory of the frontend {told} (MiB)"]
            + [number(memory[name]["rss_mib"]) for name in PEERS]
        )
    return f"""\
## Beside its peers, on simulated engines

`python -m bench.compare.run --table standard --peers dynamo,gateway --rounds {found["rounds"]}`, \
{machine(found["machine"])}. All systems are up at once and take turns; medians.
In each cell: the row's measure, and then the CPU of frontend + engine side. The gateway renders and
tokenizes nothing in these rows: it passes bodies on to a server that answers at once.

{table(["work", *PEERS.values()], rows)}

![the same as bars](../bench/results/standard.png)"""


def _prefix() -> str:
    found = result("prefix")

    def cell(median: dict[str, Any]) -> str:
        return (
            f"{pair(median['ttft_p50_ms'], median['ttft_p99_ms'])}, "
            f"{median['cached_share']:.2f}, {number(median['tokens_per_s'])}"
        )

    rows = [
        [row["title"]] + [cell(row["systems"][name]["median"]) for name in MODES]
        for row in found["rows"].values()
    ]
    return f"""\
## Shared prefixes, beside Dynamo

`python -m bench.compare.run --table prefix --peers modes,dynamo-kv`, paced simulated engines, \
medians of {found["rounds"]} rounds, {machine(found["machine"])}.
In each cell: TTFT p50 / p99 in ms, the share of prompts that was cached, tokens/s.

{table(["work", *MODES.values()], rows)}

![the same as bars](../bench/results/prefix.png)"""
