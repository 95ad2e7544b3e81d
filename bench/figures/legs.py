"""Prefill and decode in two engines, beside whole ones."""

from collections.abc import Iterator
from statistics import median
from typing import Any, Final

from bench.figures.markdown import number, pair, result, table

NAMES: Final = {"whole-1": "one whole", "whole-2": "two whole", "pair": "prefill and decode"}


def sections() -> Iterator[str]:
    """A section for what two legs are worth, and one for what befalls them."""
    found = result("disaggregation")
    yield _worth(found)
    yield _befallen(found)


def _worth(found: dict[str, Any]) -> str:
    rows = [
        [load, *(_cell(views[view]) for view in NAMES)] for load, views in found["worth"].items()
    ]
    return f"""\
## Prefill and decode apart, on one GPU

`python -m bench.gpu.disaggregation` on one H200 that all engines share (a model of Qwen3-0.6B's
shape without weights, NIXL), medians of the rounds, nothing refused: tokens/s; TTFT p50 / p99 and
gap p99 in ms. Loads are requests together x tokens in / out.

{table(["load", *NAMES.values()], rows)}

Sharing a GPU, two engines take from each other what one would have alone, and short prompts pay for
the hand-over with every request. What a GPU for each stage gives is not measured here yet."""


def _cell(rounds: list[dict[str, Any]]) -> str:
    def middle(key: str) -> float:
        return median(each[key] for each in rounds)

    ttft = pair(middle("ttft_p50_ms"), middle("ttft_p99_ms"))
    return f"{number(middle('tokens_per_s'))}; {ttft}; {number(middle('gap_p99_ms'))}"


def _befallen(found: dict[str, Any]) -> str:
    equality, faults = found["equality"], found["faults"]
    cancelled = [
        [
            number(each["after_s"]),
            number(each["short_behind_s"]),
            number(each["held_nothing_after_s"]),
        ]
        for each in found["cancelling"]
    ]
    killed = [
        [
            "prefill" if each["victim"].startswith("p") else "decode",
            f"{each['answered']} of {each['of']}",
            str(each["equal_to_undisturbed"]),
        ]
        for each in faults
    ]
    alone = number(found["cancelling"][0]["short_alone_s"])
    columns = ["clients left after s", "a short request behind them took s", "nothing held after s"]
    return f"""\
## Two legs that are the same, cancelled, killed

The same run. Greedy answers equal to those of one engine: {equality["equal"]} of
{equality["of"]}. Ten clients with prompts of 12,000 tokens leave; alone, the short request behind
them takes {alone} s, and engines tell four times a second what they hold:

{table(columns, cancelled)}

A worker is killed under 32 requests, with another of its stage beside it:

{table(["killed", "answered", "equal to undisturbed"], killed)}"""
