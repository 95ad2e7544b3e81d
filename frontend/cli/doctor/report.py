"""Findings are told to the person at the terminal, or as JSON."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final, TextIO

from frontend.cli.doctor.finding import Finding, Verdict

_COLOURS: Final[dict[Verdict, str]] = {"ok": "32", "warn": "33", "fail": "31"}


def exit_code(findings: Sequence[Finding]) -> int:
    """Returns 1 where something must be mended, else 0."""
    return int(any(each.verdict == "fail" for each in findings))


def print_lines(findings: Sequence[Finding], out: TextIO) -> None:
    """Prints a line for each finding, how to mend it under it, and their number at last."""
    width = max((len(each.about) for each in findings), default=0)
    for each in findings:
        verdict = _coloured(f"{each.verdict:4}", each.verdict, out)
        print(f"{verdict}  {each.about:{width}}  {_printable(each.says)}", file=out)
        if each.mend:
            print(f"{'':6}{'':{width}}  → {_printable(each.mend)}", file=out)
    counts = Counter(each.verdict for each in findings)
    told = f"\n{counts['ok']} ok, {counts['warn']} to look at, {counts['fail']} to mend"
    print(told, file=out)


def print_json(findings: Sequence[Finding]) -> None:
    """Prints the findings as one JSON object."""
    counts = Counter(each.verdict for each in findings)
    told = {
        "ok": not counts["fail"],
        "counts": {verdict: counts[verdict] for verdict in _COLOURS},
        "findings": [asdict(each) for each in findings],
    }
    print(json.dumps(told, indent=2))


def _coloured(text: str, verdict: Verdict, out: TextIO) -> str:
    return f"\033[{_COLOURS[verdict]}m{text}\033[0m" if out.isatty() else text


def _printable(text: str) -> str:
    """Returns a text on one line that moves no cursor, whatever it quotes."""
    return "".join(each if each.isprintable() else " " for each in text)
