"""`kvmesh top` shows a running frontend, its workers and the last minutes in the terminal."""

import argparse
import sys
import time
import urllib.error

import msgspec
from rich.console import Console, RenderableType

from frontend.cli.direct_http import UNREACHABLE, error_message, open_url
from frontend.cli.top.follower import EVENT_BYTES_MAX, SILENCE_S_MAX, decode, reason
from frontend.cli.top.picture import picture
from frontend.cli.top.screen import show
from frontend.cli.top.seen import Seen

PRINTED_COLUMNS = 132
PRINTED_LINES = 1_000
"""Are how large a picture is that no terminal bounds."""


def run(options: argparse.Namespace) -> int:
    """Shows the frontend until q; returns the exit code."""
    url = options.url.rstrip("/").removesuffix("/v1")
    console = Console(highlight=False)
    if options.once:
        return _print_once(url, console)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("kvmesh: top needs a terminal; kvmesh top --once prints one picture", file=sys.stderr)
        return 1

    def draw(seen: Seen, width: int, height: int) -> RenderableType:
        return picture(seen, url, time.monotonic(), width, height, hint="q ends")

    show(url, draw, console)
    return 0


def _print_once(url: str, console: Console) -> int:
    seen = Seen()
    try:
        with open_url(f"{url}/status", timeout_s=SILENCE_S_MAX) as answer:
            seen.take(decode(answer.read(EVENT_BYTES_MAX)))
    except urllib.error.HTTPError as error:
        with error:
            return _complain(url, error_message(error))
    except msgspec.DecodeError:
        return _complain(url, "what answers is no frontend of this version")
    except UNREACHABLE as error:
        return _complain(url, reason(error))
    if not console.is_terminal:
        console.width = PRINTED_COLUMNS
    console.print(picture(seen, url, time.monotonic(), console.width, PRINTED_LINES))
    return 0


def _complain(url: str, why: str) -> int:
    print(f"kvmesh: no status of {url}: {why}", file=sys.stderr)
    return 1
