"""What a command line that another program will read says after a flag is looked up beforehand."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any


def said_after(argv: Sequence[str], *flags: str) -> str | None:
    """Returns what a command line says after any of these flags, the last one counting; "" after
    one without a value; None where none of them is given.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*flags, nargs="?", const="", dest="said")
    said: str | None = parser.parse_known_args(list(argv))[0].said
    return said


def dropped(argv: Sequence[str], *flags: str) -> list[str]:
    """Returns a command line without these flags and what it says after each."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument(*flags, nargs="?")
    return parser.parse_known_args(list(argv))[1]


def value_under(section: Mapping[str, Any], *flags: str) -> Any:
    """Returns what a mapping of arguments holds under any of these flags, named without dashes in
    front and with dashes or underscores within, the last one counting; None where it holds none.
    """
    names = {dashed(flag.lstrip("-")) for flag in flags}
    values = [value for name, value in section.items() if dashed(name) in names]
    return values[-1] if values else None


def dashed(name: str) -> str:
    """Returns the name of an argument with dashes instead of underscores."""
    return name.replace("_", "-")
