"""Real SGLang alone and through the mesh."""

from collections.abc import Iterator

from bench.figures.markdown import number, result, table


def sections() -> Iterator[str]:
    """A section for each way to run an engine."""
    yield _through_the_mesh()
    yield _choices()


def _through_the_mesh() -> str:
    found = result("real_sglang")
    turns = len(next(iter(found.values()))["mesh"]["rounds"])
    rows = [
        [work]
        + [
            f"{number(systems[name]['tokens_per_s'])}; {number(systems[name]['ttft_p50_ms'])}"
            for name in ("bare", "mesh")
        ]
        for work, systems in found.items()
    ]
    return f"""\
## Real SGLang, bare and through the mesh

`python -m bench.sglang.through_the_mesh` on two CPU cores, medians of {turns} turns: tokens/s; TTFT
p50 in ms. Ours includes HTTP, template and tokenizing; the bare engine is given token ids.

{table(["work", "bare", "mesh"], rows)}"""


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
