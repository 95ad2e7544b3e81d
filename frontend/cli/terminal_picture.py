"""Shows a picture in the terminal: as itself where the terminal can, else as coloured blocks."""

import base64
import io
import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, Literal

Way = Literal["kitty", "iterm", "blocks", "none"]

_KITTY_CHUNK_CHARS: Final = 4096
"""Is the most that the protocol allows in one sequence."""

_COLUMNS_MAX: Final = 64
"""Bounds how many blocks a picture is wide: enough to tell what it shows, and not a screen full."""

_KITTY_TERMS: Final = ("xterm-kitty", "xterm-ghostty")
_KITTY_PROGRAMS: Final = ("ghostty", "kitty")
_ITERM_PROGRAMS: Final = ("iTerm.app", "WezTerm", "mintty")
_MULTIPLEXED: Final = ("screen", "tmux")
"""A multiplexer keeps pictures to itself."""


def show(data: bytes) -> None:
    """Shows a picture file on standard output, which is a terminal, where it can be shown."""
    way = way_of(os.environ, sys.stdout.encoding)
    if way == "none":
        return
    size = shutil.get_terminal_size()
    with suppress(Exception):  # whatever Pillow raises: the file is saved, and can be looked at
        for text in drawn(data, way, size.columns, size.lines, deep=_deep(os.environ)):
            sys.stdout.write(text)
    sys.stdout.write("\n")
    sys.stdout.flush()


def way_of(environment: Mapping[str, str], encoding: str | None) -> Way:
    """Returns how a terminal shows pictures, by what it says of itself in the environment."""
    term, program = environment.get("TERM", ""), environment.get("TERM_PROGRAM", "")
    multiplexed = term.startswith(_MULTIPLEXED) or environment.get("TMUX") or program == "tmux"
    if not multiplexed:
        if term in _KITTY_TERMS or program in _KITTY_PROGRAMS or environment.get("KITTY_WINDOW_ID"):
            return "kitty"
        if program in _ITERM_PROGRAMS:
            return "iterm"
    if term in ("", "dumb") or environment.get("NO_COLOR"):
        return "none"
    return "blocks" if "utf" in (encoding or "").lower() else "none"


def drawn(data: bytes, way: Way, columns: int, lines: int, *, deep: bool) -> Iterator[str]:
    """Yields what a terminal is written to show a picture file, without the end of the line.

    Args:
        deep: the terminal knows all colours and not only 256.
    """
    if way == "kitty":
        yield from _kitty(_png(data))
    elif way == "iterm":
        told = base64.b64encode(data).decode()
        yield f"\033]1337;File=inline=1;size={len(data)}:{told}\a"
    elif way == "blocks":
        yield from _blocks(data, min(columns, _COLUMNS_MAX), max(1, lines - 4), deep=deep)


def _deep(environment: Mapping[str, str]) -> bool:
    return environment.get("COLORTERM", "") in ("truecolor", "24bit")


def _opened(data: bytes) -> Any:
    image: Any = import_module("PIL.Image")  # where it is needed, since it takes a moment
    return image.open(io.BytesIO(data))


def _png(data: bytes) -> bytes:
    """Returns a picture file as a PNG, the one format of those that kitty takes."""
    if data.startswith(b"\x89PNG"):
        return data
    written = io.BytesIO()
    _opened(data).save(written, "png")
    return written.getvalue()


def _kitty(data: bytes) -> Iterator[str]:
    told = base64.b64encode(data).decode()
    for start in range(0, len(told), _KITTY_CHUNK_CHARS):
        chunk = told[start : start + _KITTY_CHUNK_CHARS]
        # a PNG (f=100) to be shown at once (a=T) and never answered (q=2)
        first = "" if start else "a=T,f=100,q=2,"
        more = int(start + _KITTY_CHUNK_CHARS < len(told))
        yield f"\033_G{first}m={more};{chunk}\033\\"


def _blocks(data: bytes, columns: int, lines: int, *, deep: bool) -> Iterator[str]:
    """Yields a line for every two rows of pixels: a block's upper half is its letter, the lower one
    its background.
    """
    picture = _opened(data).convert("RGB")
    share = min(columns / picture.width, 2 * lines / picture.height, 1.0)
    width = max(1, round(picture.width * share))
    height = max(2, round(picture.height * share) // 2 * 2)
    pixels: Any = picture.resize((width, height)).load()
    for row in range(0, height, 2):
        cells = (
            f"\033[38;{_colour(pixels[x, row], deep=deep)};48;"
            f"{_colour(pixels[x, row + 1], deep=deep)}m▀"
            for x in range(width)
        )
        yield "".join(cells) + "\033[0m" + ("\n" if row + 2 < height else "")


def _colour(pixel: tuple[int, int, int], *, deep: bool) -> str:
    if deep:
        return "2;{};{};{}".format(*pixel)
    red, green, blue = (round(value / 255 * 5) for value in pixel)
    return f"5;{16 + 36 * red + 6 * green + blue}"
