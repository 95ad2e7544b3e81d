"""The options of `kvmesh bench`."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Final

SECONDS_DEFAULT: Final = 10.0

SECONDS_MAX: Final = 600.0
REQUESTS_MAX: Final = 100_000
"""Bound a load, of which every token's time is kept: some 32 bytes each."""

USERS_MAX: Final = 4_096
"""Bounds the users at once, each of whom has a connection; one process serves no more."""

LOADS_MAX: Final = 16
TOKENS_MAX: Final = 1_000_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `kvmesh bench`."""
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000/v1",
        help="base URL of any OpenAI server; /v1 where it has no path",
    )
    parser.add_argument("--model", help="the first one that generates text if not given")
    parser.add_argument(
        "--endpoint", choices=("chat", "completions"), default="chat", help="what is asked"
    )
    parser.add_argument(
        "--concurrency",
        type=_users,
        default=[1, 16, 64],
        metavar="1,16,64",
        help="users at once, one load after the other",
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--seconds",
        type=_between(float, 0.1, SECONDS_MAX),
        help=f"how long each load is measured (default {SECONDS_DEFAULT:g})",
    )
    length.add_argument(
        "--requests",
        type=_between(int, 1, REQUESTS_MAX),
        help="how many requests of each load are measured, instead of seconds",
    )
    parser.add_argument(
        "--prompt-tokens", type=_between(int, 1, TOKENS_MAX), default=256, help="of each prompt"
    )
    parser.add_argument(
        "--output-tokens", type=_between(int, 1, TOKENS_MAX), default=128, help="of each answer"
    )
    parser.add_argument(
        "--shared-prefix",
        type=_between(int, 0, TOKENS_MAX),
        default=0,
        metavar="TOKENS",
        help="of each prompt are the same; without it no two are alike",
    )
    parser.add_argument("--seed", type=int, help="makes the same prompts again")
    parser.add_argument(
        "--timeout",
        type=_between(float, 0.1, 3_600),
        default=300.0,
        help="seconds after which an answer counts as an error",
    )
    parser.add_argument("--out", type=Path, help="picture to draw, .svg; must not exist")
    parser.add_argument(
        "--json",
        action="store_true",
        help="print JSON instead of a table, and draw with --out only",
    )


def check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends the process with a usage message where options make no sense together."""
    if options.out is not None and options.out.suffix.lower() != ".svg":
        parser.error("--out must end with .svg")
    if options.shared_prefix >= options.prompt_tokens:
        parser.error("--shared-prefix must be below --prompt-tokens")


def _users(text: str) -> list[int]:
    """Returns the numbers of users that a text lists.

    Raises:
        ValueError: it is no such list.
    """
    numbers = [int(item) for item in text.split(",")]
    if not 1 <= len(numbers) <= LOADS_MAX or not all(1 <= each <= USERS_MAX for each in numbers):
        raise argparse.ArgumentTypeError(f"must be up to {LOADS_MAX} numbers from 1 to {USERS_MAX}")
    return numbers


def _between(kind: Callable[[str], float], least: float, most: float) -> Callable[[str], float]:
    """Returns what reads a number from `least` to `most`."""

    def read(text: str) -> float:
        value = kind(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be {least:g} to {most:g}")
        return value

    return read
