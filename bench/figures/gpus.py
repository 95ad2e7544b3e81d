"""kvmesh beside SGLang's own server, its gateway and NVIDIA Dynamo, on real engines on GPUs."""

from collections.abc import Iterator
from typing import Any, Final

from bench.figures.markdown import number, pair, result, table

CASES: Final = {
    "1": "1 together, 512 tokens in, 128 out",
    "16": "16 together, the same",
    "64": "64 together",
    "256": "256 together",
    "1024": "1,024 together",
    "4k": "32 together, 4,096 in, 64 out",
    "30k": "prompts of 30,000 tokens",
    "shared": "32 together, of 4,096 + 256 in 16 share 4,096, 64 out",
}


def sections() -> Iterator[str]:
    """A section for each result of `bench.gpu.three_way`."""
    yield _three_way()
    yield _gathered()
    yield _two_gpus()
    yield _bounds()


def _turns(medians: dict[str, Any], name: str) -> str:
    if name not in medians:
        return ""
    median = medians[name]
    ttft = pair(median["ttft_p50_ms"], median["ttft_p99_ms"])
    return f"{number(median['tokens_per_s'])}; {ttft}; {median['frontend_cpu_s']:.2f} s"


def _rows(found: dict[str, Any], systems: dict[str, str]) -> str:
    rows = [
        [CASES[case]] + [_turns(medians, name) for name in systems]
        for case, medians in found["medians"].items()
    ]
    return table(["work", *systems.values()], rows)


def _refused(found: dict[str, Any]) -> int:
    return sum(
        median["not_ok"] for medians in found["medians"].values() for median in medians.values()
    )


def _three_way() -> str:
    found = result("three_way")
    systems = {"kvmesh": "kvmesh", "sglang": "SGLang's server", "dynamo": "Dynamo, kv"}
    return f"""\
## Beside SGLang's server and Dynamo, on one GPU

`python -m bench.gpu.three_way`, {found["gpus"][0]}, the shape of Qwen3-0.6B, everything as it \
comes but that idle engines sleep (`--sleep-on-idle`), \
{found["medians"]["1"]["kvmesh"]["rounds"]} rounds in turns or more. In each cell: tokens/s; TTFT \
p50 / p99 in ms; CPU of the process that speaks HTTP. Requests without a whole answer: \
{_refused(found)}.

{_rows(found, systems)}

{_order()}"""


def _order() -> str:
    found, first = result("three_way_order"), result("three_way_first")
    systems = {"sglang": "SGLang's server", "dynamo": "Dynamo, kv", "kvmesh": "kvmesh"}
    in_turn = {"kvmesh": "kvmesh", "dynamo": "Dynamo, kv", "sglang": "SGLang's server"}
    return f"""\
Above, kvmesh was started first. That matters with few requests together: on another host, started \
in this order, {found["medians"]["1"]["kvmesh"]["rounds"]} rounds gave:

{_rows(found, systems)}

Half of Dynamo's CPU is missed where many stream at once ({_chunks(found, "1024")}): \
there kvmesh writes each token when it comes, and Dynamo several in one.

Rows of few requests hang on the host, too. On a third one, kvmesh was first again, \
{first["medians"]["1"]["kvmesh"]["rounds"]} rounds; one request at a time got {_each(first)} \
tokens/s of it in turn: the same engine took 2.4 ms a token in some rounds and 3.1 in others.

{_rows(first, in_turn)}"""


def _chunks(found: dict[str, Any], case: str) -> str:
    told: list[str] = []
    for name, shown in (("kvmesh", "kvmesh"), ("dynamo", "Dynamo")):
        median = found["medians"][case][name]
        cost_us = 1e6 * median["frontend_cpu_s"] / median["events"]
        gap = number(median["gap_p50_ms"])
        told.append(
            f"{shown} {number(median['events'])} chunks of {number(cost_us)} µs each and a gap of "
            f"{gap} ms at p50"
        )
    return f"{int(case):,} together: {'; '.join(told)}"


def _each(found: dict[str, Any]) -> str:
    told = [number(turn["tokens_per_s"]) for turn in found["rounds"]["1"]["kvmesh"]]
    return f"{', '.join(told[:-1])} and {told[-1]}"


def _gathered() -> str:
    found = result("three_way_gathered")
    systems = {
        "kvmesh": "kvmesh",
        "dynamo": "Dynamo, kv",
        "kvmesh-before": "kvmesh without the two milliseconds",
    }
    return f"""\
## What waiting two milliseconds for others costs on one H200

The same, started in this order, beside kvmesh of the commit before messages waited no longer than \
two milliseconds for the others of their turn ([decision 54](decisions/0054-zmtp-on-the-loop.md)): \
{found["medians"]["1"]["kvmesh"]["rounds"]} rounds; requests without a whole answer: \
{_refused(found)}. What it wins where two \
cores wait for each other is not to be had here, where all wait for the GPU; nor does it cost more \
than who starts first loses anyway.

{_rows(found, systems)}"""


def _two_gpus() -> str:
    found = result("three_way_two_gpus")
    systems = {"kvmesh": "kvmesh", "gateway": "SGLang's gateway", "dynamo": "Dynamo, kv"}
    return f"""\
## Beside SGLang's gateway and Dynamo, on two GPUs

`python -m bench.gpu.three_way --gpus 2`, two H200: kvmesh and Dynamo with a worker on each, the \
gateway (`cache_aware`) over an SGLang server on each; all six engines are up at once. \
{found["medians"]["256"]["kvmesh"]["rounds"]} rounds in turns; cells as above. Requests without a \
whole answer: {_refused(found)}.

{_rows(found, systems)}"""


def _bounds() -> str:
    found = result("three_way_bounds")
    systems = {
        "kvmesh": "kvmesh",
        "kvmesh-before": "kvmesh without the bounds",
        "sglang": "SGLang's server",
    }
    rows = [
        [f"{CASES[case]}, {medians['kvmesh']['rounds']} rounds"]
        + [_turns(medians, name) for name in systems]
        for case, medians in found["medians"].items()
    ]
    served = found["bench_serving"]["kvmesh sglang-oai-chat"]
    return f"""\
## What bounds on strangers and clients cost on one H100

The same, beside kvmesh of the commit before those bounds. SGLang's own `bench_serving`, 500 chats
at once against kvmesh: {number(served["output_throughput"])} tokens/s, {served["failed"]} failed.

{table(["work", *systems.values()], rows)}"""
