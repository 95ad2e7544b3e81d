"""What a second frontend process brings, and how evenly two share their clients."""

from collections.abc import Iterator
from typing import Any, Final

from bench.figures.markdown import machine, number, pair, result, table

LOADS: Final = {
    "chat": "chat, 16 tokens, whole",
    "chat, streamed": "chat, 64 tokens, streamed",
    "tokenize": "`/tokenize`, 130 words, for which no worker is needed",
}


SCALED: Final = {
    "chat": "chats, 16 tokens, whole",
    "chat, streamed": "chats, 64 tokens, streamed",
    "long prompt": "prompts of 1,500 tokens, one token out",
}


def sections() -> Iterator[str]:
    """Two sections: on shared cores, and on cores of their own."""
    yield _shared(result("frontend_processes"))
    yield _apart(result("frontend_scaling"))


def _apart(found: dict[str, Any]) -> str:
    rows = [
        [
            told,
            *(number(by_count[case]["requests_per_s"]) for case in by_count),
            f"{by_count['2 on 2']['requests_per_s'] / by_count['1 on 2']['requests_per_s']:.2f}",
            f"{by_count['4 on 4']['requests_per_s'] / by_count['1 on 1']['requests_per_s']:.2f}",
        ]
        for load, told in SCALED.items()
        for by_count in [found["loads"][load]]
    ]
    cases = next(iter(found["loads"].values()))
    return f"""\
## Frontend processes on cores of their own

`python -m bench.frontend.scaling`: {machine(found["machine"])}; so many frontend processes on so \
many cores, {found["workers"]} simulated workers without a pace and the load generator on others; \
{found["concurrency"]} connections a process; medians of five rounds in turns, requests/s.

{table(["load", *cases, "2 beside 1", "4 beside 1"], rows)}"""


def _shared(found: dict[str, Any]) -> str:
    rows = [
        [
            told,
            count,
            number(by_count[count]["requests_per_s"]),
            number(by_count[count]["frontend_cpu_ms"]),
            number(by_count[count]["worker_cpu_ms"]),
            " + ".join(
                number(by_count[count][part])
                for part in ("frontend_cores", "worker_cores", "loadgen_cores")
            ),
            pair(by_count[count]["e2e_p50_ms"], by_count[count]["e2e_p99_ms"]),
        ]
        for load, told in LOADS.items()
        for by_count in [found["loads"][load]]
        for count in by_count
    ]
    columns = [
        "load",
        "processes",
        "requests/s",
        "frontend's CPU of one, ms",
        "worker's, ms",
        "cores of frontend + worker + generator",
        "p50 / p99, ms",
    ]
    ways = found["sharing"]
    shares = [
        [case, *(_share(ways[way][case]) for way in ways)] for case in next(iter(ways.values()))
    ]
    alone = found["generator_alone"]
    return f"""\
## Several frontend processes

`python -m bench.frontend.processes`: {machine(found["machine"])}, which frontends, worker (without
a pace of its own) and load generator share, beside other work (load average \
{number(found["machine"]["load_1min"])}); {found["concurrency"]} connections; one process and two
took turns. Where no worker is needed two do what two cores can; with one, all are busy with one
process already. A chat costs more with two, since half as many have something to do in one go; at
an equal rate a process it costs the [same](#what-a-second-frontend-process-costs-beside-its-chats).
The generator alone does \
{alone["requests_per_s"]:,} requests/s at {alone["cpu_us"]} µs
each. Memory of the frontend, shared pages divided: {number(found["memory_mib"]["1"])} MiB with one
process, {number(found["memory_mib"]["2"])} with two and their parent.

{table(columns, rows)}

The part of the connections that the busier of two processes has, mean and worst of many trials
beside other work: by our turns, by one socket that both accept from, and with a socket each
(SO_REUSEPORT). Why it matters: [decision 49](decisions/0049-one-listener-for-all-processes.md).

{table(["connections", *ways], shares)}"""


def _share(told: dict[str, Any]) -> str:
    return pair(told["mean"], told["worst"])
