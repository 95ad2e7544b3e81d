"""Parts on their own: a chat in a frontend, HTTP servers, the index of cached blocks."""

from collections.abc import Iterator
from typing import Any, Final

from bench.figures.markdown import machine, number, result, table

INDEXES: Final = {
    "kv_events.index": "a dict a rank (ours)",
    "B dicts": "the same, halving for every rank",
    "B2 sets": "sets",
    "A masks": "bitmasks of ranks",
    "A2 masks, swept": "bitmasks, swept",
    "C tree": "a tree of nodes",
    "dynamo": "Dynamo's RadixTree, from Python",
}

INDEX_MEASURES: Final = {
    "decide_hot_us_wall": "hash an 8k prompt, ask and choose, many ranks hold it (µs)",
    "decide_stairs_us_wall": "the worst case: every rank holds another length (µs)",
    "update_1_mblocks_s": "updates in events of one block (M blocks/s)",
    "update_64_mblocks_s": "updates in events of 64 blocks (M blocks/s)",
    "bytes_per_entry": "bytes a block",
    "full_gc_ms_wall": "a full garbage collection (ms)",
    "drop_ms_wall": "forgetting a rank (ms)",
}

SERVERS: Final = {
    "uvicorn+guarded": "uvicorn, httptools, our guard",
    "uvicorn+httptools": "uvicorn, httptools",
    "uvicorn+h11": "uvicorn, h11",
    "granian": "granian",
}

LOAD_MEASURES: Final = {
    "cpu_ms_per_req": "CPU of a request (ms)",
    "req_per_s": "requests/s",
    "e2e_p99_ms": "p99 of a request (ms)",
    "cpu_us_per_chunk": "CPU of a streamed chunk (µs)",
    "chunks_per_s": "streamed chunks/s",
    "rss_mib": "memory (MiB)",
}


def sections() -> Iterator[str]:
    """A section for each part."""
    yield _chat()
    yield _pythons()
    yield _http_servers()
    yield _index()
    yield _churn()


def _chat() -> str:
    found = result("chat_profile")
    systems = found["systems"]
    parts = dict.fromkeys(part for each in systems.values() for part in each["parts_us"])
    rows = [
        [part] + [number(each["parts_us"].get(part, 0.0)) for each in systems.values()]
        for part in sorted(parts, key=lambda part: -systems["kvmesh"]["parts_us"].get(part, 0.0))
    ]
    measures = {"cpu_us": "together", "e2e_p50_ms": "p50 of a chat, 64 together (ms)"}
    rows += [
        [told] + [number(each["median"][measure]) for each in systems.values()]
        for measure, told in measures.items()
    ]
    rows.append(["together, of the first"] + [number(each["ratio"]) for each in systems.values()])
    return f"""\
## A chat's microseconds

`python -m bench.frontend.chat_profile`, {machine(found["machine"])}: CPU of a frontend for a chat
of 128 tokens with one token out, 64 together, by what it is spent on (µs); log level
{found["level"]}. The checkouts took turns, {found["rounds"]} times {found["chats"]} chats each; the
last row is the median of the turns' ratios.

{table(["", *systems], rows)}

![the same as bars](../bench/results/chat_profile.png)"""


def _pythons() -> str:
    found = result("pythons")
    rows = [
        [
            name if name != "kvmesh" else f"{found['machine']['python']} of pyenv, as it builds it",
            number(each["median"]["cpu_us"]),
            number(each["least_cpu_us"]),
            number(each["ratio"]),
        ]
        for name, each in found["systems"].items()
    ]
    return f"""\
## Pythons

`python -m bench.frontend.chat_profile`, {machine(found["machine"])}: the same chats with frontends
under several Pythons, which took turns, {found["rounds"]} times {found["chats"]} chats each. Debian
builds its own with all optimisations, as Docker's images have it; pyenv does where it is told to.

{table(["Python", "CPU of a chat (µs)", "least of all turns (µs)", "of the first"], rows)}"""


def _http_servers() -> str:
    found = result("http_servers")
    attacks: dict[str, dict[str, dict[str, Any]]] = {}
    for one in found["attacks"]:
        attacks.setdefault(one["attack"], {})[one["server"]] = one
    rows = [
        [told] + [number(found["load"][server][measure]) for server in SERVERS]
        for measure, told in LOAD_MEASURES.items()
    ]
    rows += [
        [f"under attack: {attack} (status; memory added, MiB; CPU, s)"]
        + [
            f"{by[server]['status']}; {by[server]['rss_peak_added_mib']}; {by[server]['cpu_s']}"
            for server in SERVERS
        ]
        for attack, by in attacks.items()
    ]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    return f"""\
## HTTP servers

`python -m bench.frontend.http_servers`, {machine(found["machine"])}; {versions}. Which one was
chosen, and why: [decision 1](decisions/0001-http-server.md).

{table(["", *SERVERS.values()], rows)}"""


def _index() -> str:
    found = result("kv_index")
    run = next(run for run in found["runs"] if run["ranks"] == 64 and not run["tiered"])
    rows = [
        [told] + [number(run["by_index"][name].get(measure)) for measure in INDEX_MEASURES]
        for name, told in INDEXES.items()
    ]
    return f"""\
## The index of cached blocks

`python -m bench.kv.index`: {run["entries"]:,} blocks on {run["ranks"]} ranks, \
{machine(found["machine"])}; Dynamo {found["versions"]["dynamo"]}. Which one was chosen, and
why: [decision 15](decisions/0015-a-dict-a-rank-is-the-index.md).

{table(["", *INDEX_MEASURES.values()], rows)}"""


def _churn() -> str:
    found = result("kv_churn")
    half = found["rss_mib_second_half"]
    return f"""\
## Memory after many KV events

`python -m bench.kv.churn`: {found["block_events"]:,} block events through a full index of \
{found["blocks_held"]:,} blocks take {half["first"]} MiB at the middle and {half["last"]} at the
end, at {found["block_events_per_cpu_s"]:,} events a CPU second; {found["gaps"]} gaps and \
{found["snapshots"]} snapshots among them."""
