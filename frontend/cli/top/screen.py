"""A terminal that is drawn on until somebody presses q, and left as it was."""

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Generator
from types import FrameType
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.live import Live

from frontend.cli.top.follower import Follower
from frontend.cli.top.seen import Seen

REDRAWN_S: Final = 1.0
"""Is the time after which the picture is drawn anew without news: it says how old they are."""

_ENDS: Final = frozenset(b"qQ\x03\x04")
"""Are the keys that end it: q, and Ctrl-C and Ctrl-D where the terminal does not make signals of
them.
"""

Draw = Callable[[Seen, int, int], RenderableType]
"""A Draw makes the picture of what is seen, so many columns wide and lines high."""


class _Ended(Exception):
    """An _Ended says that a signal asks the process to end."""


def show(url: str, draw: Draw, console: Console) -> None:
    """Follows a frontend and draws it, until q or a signal; the terminal is as before then."""
    with _wakening() as (woken, wake), _keys_at_once(), contextlib.suppress(_Ended):
        follower = Follower(url, on_news=wake)
        follower.start()
        with Live(console=console, screen=True, auto_refresh=False, transient=True) as live:
            while True:
                live.update(draw(follower.look(), console.width, console.height), refresh=True)
                if _ended(woken):
                    return


def _ended(woken: int) -> bool:
    """Waits for news, a key, another size of the terminal, or a second; tells whether that is
    all.
    """
    keyboard = sys.stdin.fileno()
    ready, _, _ = select.select([keyboard, woken], [], [], REDRAWN_S)
    if woken in ready:
        os.read(woken, 4096)
    if keyboard not in ready:
        return False
    pressed = os.read(keyboard, 64)
    return not pressed or not _ENDS.isdisjoint(pressed)


@contextlib.contextmanager
def _wakening() -> Generator[tuple[int, Callable[[], None]]]:
    """Gives a descriptor that can be read as soon as there is news or a signal came, and what tells
    of news. A signal that asks to end raises _Ended.
    """
    reading, writing = os.pipe()
    os.set_blocking(writing, False)

    def wake(*_: Any) -> None:
        with contextlib.suppress(BlockingIOError):  # it is full: somebody is woken anyhow
            os.write(writing, b"\0")

    def end(_: int, __: FrameType | None) -> None:
        raise _Ended

    handlers = {signal.SIGWINCH: wake, signal.SIGINT: end, signal.SIGTERM: end, signal.SIGHUP: end}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield reading, wake
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _keys_at_once() -> Generator[None]:
    """Has keys read as they are pressed, and not shown."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    tty.setcbreak(keyboard)
    try:
        yield
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
