"""Real SGLang alone and through the mesh."""

from collections.abc import Iterator
from typing import Any

from bench.figures.markdown import number, result, table


def sections() -> Iterator[str]:
    """A section for each way to run an engine."""
    yield _through_the_mesh()
    yield _choices()
    yield _number_formats()


def _through_the_mesh() -> str:
    found = result("real_sglang")
    turns = len(next(iter(found.values()))["mesh"]["rounds"])
    rows = [_beside(work, systems, "bare", "mesh") for work, systems in found.items()]
    return f"""\
## Real SGLang, bare and through the mesh

`python -m bench.sglang.through_the_mesh` on two CPU cores, medians of {turns} turns: tokens/s; TTFT
p50 in ms. Ours includes HTTP, template and tokenizing; the bare engine is given token ids.

{table(["work", "bare", "mesh"], rows)}"""


def _beside(work: str, systems: dict[str, Any], *names: str) -> list[str]:
    """Returns a row: the work, and what each of the systems made of it."""
    told = [systems[name] for name in names]
    return [work, *(f"{number(one['tokens_per_s'])}; {number(one['ttft_p50_ms'])}" for one in told)]


def _choices() -> str:
    rows = [
        [
            way,
            number(median["wall_ms"]),
            number(median["prompt_tokens_computed"]),
            number(median["tokens"]),
        ]
        for way, median in result("choices").items()
    ]
    columns = ["", "ms until all are done", "prompt tokens computed", "tokens made"]
    return f"""\
## Eight choices of a fresh prompt of 1,000 tokens

`python -m bench.sglang.choices` on real SGLang and two CPU cores, 32 tokens a choice, medians of
four turns.

{table(columns, rows)}"""


def _number_formats() -> str:
    found = result("number_formats")
    rows = [
        _beside(work, systems, "float32", "bfloat16") for work, systems in found["texts"].items()
    ]
    drawn = [f"{number(found['pictures'][name]['s'])} s" for name in ("float32", "bfloat16")]
    rows.append(["a picture of the demo", *drawn])
    turns = len(found["pictures"]["float32"]["rounds"])
    return f"""\
## Float32 on a CPU without bfloat16

`python -m bench.sglang.number_formats`, real SGLang on {found["machine"]["cores"]} cores \
({found["machine"]["cpu"]}) that have no instructions for bfloat16, medians of {turns} turns: \
tokens/s; TTFT p50 in ms. Workers choose float32 there \
([decision 58](decisions/0058-float32-without-bfloat16.md)).

{table(["work", "float32", "the models' own bfloat16"], rows)}"""
