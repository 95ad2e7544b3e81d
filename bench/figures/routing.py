"""Routing modes beside each other, on simulated fleets and on real engines."""

from collections.abc import Iterator
from typing import Any, Final

from bench.figures.markdown import machine, number, pair, result, table

MODES: Final = ("kv", "round-robin", "least-loaded", "power-of-two", "random")

NAMES: Final = {"kv-before": "kv, sent at once"}
"""Of frontends of other checkouts."""

TITLES: Final = {
    "system": "one hot system prompt of 2k tokens",
    "system-cold": "the system prompt from a cold start",
    "chat": "chats of 8 turns",
    "agents": "agents in 32 families with 16k tokens shared",
    "unshared": "nothing shared, prompts of 2k",
    "bursts": "fan-outs of 40 over a fresh prefix of 4k",
    "groups-small": "16 groups sharing 4k, small caches",
    "groups-large": "16 groups sharing 4k, large caches",
}


def sections() -> Iterator[str]:
    """Simulated fleets first, then real engines."""
    yield _simulated()
    yield _seeds()
    yield _real()


def _cell(cell: dict[str, Any]) -> str:
    return (
        f"{pair(cell['ttft_p50_ms'], cell['ttft_p99_ms'])}, {cell['cached_share']:.2f}, "
        f"{number(cell['tokens_per_s'])}"
    )


def _simulated() -> str:
    found = result("routing")
    cells = {
        (cell["workload"], cell["ranks"], cell["frontends"], cell["mode"]): cell
        for cell in found["cells"]
    }
    fleets = list(dict.fromkeys((workload, ranks) for workload, ranks, *_ in cells))
    fleets.sort(key=lambda fleet: (list(TITLES).index(fleet[0]), fleet[1]))
    rows = [
        [f"{TITLES[workload]}, {ranks} ranks"]
        + [_cell(cells[workload, ranks, 1, mode]) for mode in MODES]
        for workload, ranks in fleets
    ]
    spread = [
        [f"{TITLES[workload]}, {ranks} ranks"]
        + [f"{cells[workload, ranks, frontends, 'kv']['load_spread']:.2f}" for frontends in (1, 2)]
        + [
            pair(
                cells[workload, ranks, 2, mode]["ttft_p50_ms"],
                cells[workload, ranks, 2, mode]["ttft_p99_ms"],
            )
            for mode in ("kv", "round-robin")
        ]
        for workload, ranks in fleets
    ]
    misses = "\n".join(f"- {' '.join(miss.split())}" for miss in found["misses"])
    return f"""\
## Routing on simulated fleets

`python -m bench.routing`: a virtual clock, the real router, index and feeds, the simulation's
schedulers; one frontend. In each cell: TTFT p50 / p99 in ms, the share of prompts that was cached,
tokens/s.

{table(["work", *MODES], rows)}

Two frontends without a link. Spread is the load of the busiest rank beside the mean.

{
        table(
            [
                "work",
                "spread, kv, one frontend",
                "spread, kv, two",
                "TTFT ms, kv, two",
                "TTFT ms, round-robin, two",
            ],
            spread,
        )
    }

Where kv is worse than another mode by more than 5 %, or ranks carry unequal loads:

{misses}

![the same as bars](../bench/results/routing.png)"""


def _seeds() -> str:
    columns = ["work", "mode", "seeds", "TTFT p50, ms", "TTFT p99, ms", "cached share", "tokens/s"]

    def over_seeds(figure: dict[str, float]) -> str:
        return f"{number(figure['median'])} ({number(figure['min'])} to {number(figure['max'])})"

    rows = [
        [
            f"{TITLES[row['workload']]}, {row['ranks']} ranks"
            + (f", {row['rate']:g} requests/s and rank" if row["rate"] else "")
            + (", two frontends" if row["frontends"] == 2 else ""),
            row["mode"],
            str(row["seeds"]),
            over_seeds(row["ttft_p50_ms"]),
            over_seeds(row["ttft_p99_ms"]),
            f"{row['cached_share']['median']:.2f}",
            number(row["tokens_per_s"]["median"]),
        ]
        for row in result("routing_seeds")["rows"]
    ]
    return f"""\
## Siblings that wait, over several seeds

`python -m bench.routing.seeds`: the same simulation; medians, least and greatest over seeds. \
Where requests are sent at once, nobody waits for what another one computes ([decision \
33](decisions/0033-siblings-wait.md)).

{table(columns, rows)}"""


def _real() -> str:
    rows: list[list[str]] = []
    for name, host in (
        ("real_fan_outs_gpu", "two H200, an engine each; fan-outs of 40 over a fresh prefix of 4k"),
        ("real_kv_two_gpus", "two H200, an engine each; chats in 16 groups that share 8k"),
        ("real_kv_gpu", "one H100, two engines with 131k tokens of cache each; 16 groups share 8k"),
        ("real_kv", "two CPU cores, four ranks with 4k tokens of cache each; 8 groups share 512"),
    ):
        found = result(name)
        rows += [
            [
                host,
                f"{NAMES.get(mode, mode)}, {len(found['rounds'][mode])} turns",
                f"{median['cached_share']:.2f} (perfect: {found['perfect_share']:.2f})",
                number(median["tokens_per_s"]),
                pair(median["ttft_p50_ms"], median["ttft_p99_ms"]),
            ]
            for mode, median in found["medians"].items()
        ]
    columns = ["engines and work", "mode", "cached share", "tokens/s", "TTFT p50 / p99, ms"]
    return f"""\
## Routing over real SGLang

`python -m bench.sglang.kv_routing`: chats of 4 turns or fan-outs, the modes in turns over the \
same engines; "sent at once" is a frontend of before siblings waited for each other \
(CPU: {machine(result("real_kv")["machine"])}).

{table(columns, rows)}"""
