"""What `kvmesh up` tells the person at the terminal."""

import json
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from frontend.models.services import use_of

PROGRESS_S = 5.0
"""Between two lines of progress where the terminal cannot overwrite one."""

_CHAT_URL_DEFAULT = "http://127.0.0.1:8000/v1"


class Progress:
    """One line that is overwritten on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._shown_at = time.monotonic()

    def show(self, text: str) -> None:
        """Show how far it is now."""
        if self._terminal:
            print(f"\r\033[Kkvmesh: {text}", end="", flush=True)
        elif time.monotonic() - self._shown_at >= PROGRESS_S:
            self._shown_at = time.monotonic()
            say(text)

    def end(self) -> None:
        """Leave an empty line for what comes next."""
        print(_clear(sys.stdout), end="", flush=True)


def say(text: str) -> None:
    """One message of `kvmesh up` itself."""
    print(f"{_clear(sys.stdout)}kvmesh: {text}", flush=True)


def complain(text: str) -> None:
    """Why it ends, on stderr."""
    print(f"{_clear(sys.stderr)}{text}", file=sys.stderr, flush=True)


def _clear(stream: TextIO) -> str:
    """What removes a line of progress that the cursor stands in."""
    return "\r\033[K" if stream.isatty() else ""


def how_to_talk(url: str, model: str, service: str) -> str:
    """Address, model and what to paste into a shell.

    `url` has no path; `service` as in protocol.membership.
    """
    base, use, tries = f"{url}/v1", use_of(service), list[str]()
    if use.generates:
        tries.append(
            "kvmesh chat" if base == _CHAT_URL_DEFAULT else f"kvmesh chat --url {shlex.quote(base)}"
        )
    if use.try_path:
        tries.append(_curl(base + use.try_path, {"model": model} | use.try_body))
    lines = [f"\n  address   {base}\n  model     {model}"]
    if tries:
        lines.append("  try       " + "\n            ".join(tries))
    return "\n".join(lines)


def how_to_join(dialled: Sequence[str]) -> str:
    """What to paste into a shell of this user for one more worker, given how those that run dial
    the frontend.
    """
    return f"  join      python -m workers {shlex.join(dialled)} --model-path ..."


def _curl(address: str, body: dict[str, Any]) -> str:
    return (
        f"curl {shlex.quote(address)} -H 'content-type: application/json' -d "
        f"{shlex.quote(json.dumps(body))}"
    )
