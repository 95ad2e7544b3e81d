"""What clients see of faults: one fault after the other, a flood, half an hour of kills."""

from collections.abc import Iterator
from typing import Any

from bench.figures.markdown import machine, number, pair, result, table


def sections() -> Iterator[str]:
    """A section for single faults, one for overload, and one for the half hour."""
    yield _faults()
    yield _overload()
    yield _soak()


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value / 1000:.2f} s"


def _more(row: dict[str, Any]) -> str:
    return "; ".join(
        _told(key, value)
        for key, value in row["more"].items()
        if not key.endswith(("_cores", "load_1min", "for_it", "rss_mib, before / highest"))
    )


def _told(key: str, value: dict[str, int] | list[Any] | float | str) -> str:
    """`back_s` 1.35 is told as "back: 1.35 s"."""
    if isinstance(value, dict):
        value = ", ".join(f"{count} x {what}" for what, count in value.items()) or "nothing"
    if isinstance(value, list):
        value = ", ".join(map(str, value))
    name, _, unit = key.rpartition("_")
    if unit in {"s", "ms"} and not name.endswith("_per"):
        return f"{name.replace('_', ' ')}: {value} {unit}"
    return f"{key.replace('_', ' ')}: {value}"


def _faults() -> str:
    found = result("faults")
    told = [row for row in found["rows"] if not row["name"].startswith("overload")]
    rows = [
        [
            row["fault"],
            "" if row["notice_s"] is None else f"{max(0.0, row['notice_s']):.3f} s",
            _ms(row["gap_max_ms"]),
            str(row["moved"]),
            f"{row['finished']} of {row['requests']}",
            _more(row),
        ]
        for row in told
    ]
    usual = [row["usual"] for row in told if row["usual"] and row["name"] != "slow-reader"]
    p50 = max(one["p50"] for one in usual)
    least, most = min(one["max"] for one in usual), max(one["max"] for one in usual)
    return f"""\
## Faults

`python -m bench.faults`: {found["streams"]} streams of {found["max_tokens"]} tokens on four \
simulated workers, {machine(found["machine"])}. Every answer is compared with that of an
undisturbed run; lost in all rows together: {sum(row["lost"] for row in told)}. The longest gap \
between two tokens of any stream is the time to notice plus
the time to go on. Usual gaps: {number(p50)} ms at the median, {number(least)} to \
{number(most)} ms at most.

{table(["fault", "noticed after", "longest gap", "moved", "whole answers", ""], rows)}"""


def _overload() -> str:
    runs = result("faults")["rows"] + result("flood")["rows"]
    lines = [
        f"- **{row['fault']}**: {_seen(row)}; lost: {row['lost']}. {_more(row)}."
        for row in runs
        if row["name"].startswith(("overload", "flood"))
    ]
    return """\
## Overload

`python -m bench.faults --rows overload,overload-equal,flood`. The first two shed load
(`--shed-load`) on three workers of 16 places, in the last everybody waits, on two of 8.

""" + "\n".join(lines)


def _seen(row: dict[str, Any]) -> str:
    errors = ", ".join(f"{count:,} answered `{code}`" for code, count in row["errors"].items())
    return f"{row['finished']:,} whole answers, {errors or 'no errors'}"


def _soak() -> str:
    found = result("soak")
    faults = ", ".join(f"{count} x {fault}" for fault, count in found["faults"].items())
    refused = ", ".join(f"{count} as {why}" for why, count in found["refused"].items())
    memory = [
        f"{number(reading['frontend0']['rss_mib'])} after {reading['minute']:.0f} minutes"
        for reading in (found["readings"][index] for index in (0, 10, 20, -3, -1))
    ]
    offered = f"{found['offered_per_s']} requests/s of the {found['capacity_per_s']}"
    return f"""\
## Half an hour of faults

`python -m bench.faults.soak --minutes {found["minutes"]:.0f}`: {offered} that the fleet
could serve, {machine(found["machine"])}, other suites running beside it, and a fault every
20 s: {faults}.

{found["sent"]:,} requests sent, {found["finished"]:,} finished, {found["left"]:,} left by their
clients, refused {refused}, lost {found["lost"]}, wrong texts {found["wrong_text"]}; \
{found["readings"][-1]["moved"]:,.0f} moved.
TTFT p50 / p99: {pair(*found["ttft_ms_p50_p99"])} ms. Memory of the frontend in MiB: \
{", ".join(memory)}."""
