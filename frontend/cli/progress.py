"""Tells the person at the terminal how far `kvmesh up` is, and what to do next."""

import json
import shlex
import sys
import time
from collections.abc import Sequence
from typing import Any, TextIO

from frontend.models.services import IMAGES, use_of

PROGRESS_S = 5.0
"""Is the time between two lines of progress where the terminal cannot overwrite one."""

_CHAT_URL_DEFAULT = "http://127.0.0.1:8000/v1"


class Progress:
    """A Progress shows how far something is: one line that is overwritten on a terminal, a line
    every few seconds elsewhere.
    """

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._shown_at = time.monotonic()

    def show(self, text: str) -> None:
        """Shows how far it is now."""
        if self._terminal:
            print(f"\r\033[Kkvmesh: {text}", end="", flush=True)
        elif time.monotonic() - self._shown_at >= PROGRESS_S:
            self._shown_at = time.monotonic()
            say(text)

    def end(self) -> None:
        """Leaves an empty line for what comes next."""
        print(_clear(sys.stdout), end="", flush=True)


def say(text: str) -> None:
    """Prints one message of `kvmesh up` itself."""
    print(f"{_clear(sys.stdout)}kvmesh: {text}", flush=True)


def complain(text: str) -> None:
    """Prints on stderr why `kvmesh up` ends."""
    print(f"{_clear(sys.stderr)}{text}", file=sys.stderr, flush=True)


def _clear(stream: TextIO) -> str:
    """Returns what removes a line of progress that the cursor stands in."""
    return "\r\033[K" if stream.isatty() else ""


def how_to_talk(url: str, model: str, service: str) -> str:
    """Returns address, model and what to paste into a shell.

    `url` has no path; `service` as in protocol.membership.
    """
    base, use, tries = f"{url}/v1", use_of(service), list[str]()
    elsewhere = "" if base == _CHAT_URL_DEFAULT else f" --url {shlex.quote(base)}"
    if use.generates:
        tries.append(f"kvmesh chat{elsewhere}")
    elif service == IMAGES:
        prompt: str = use.try_body["prompt"]
        tries.append(f"kvmesh chat{elsewhere} --image {shlex.quote(prompt)}")
    if use.try_path:
        tries.append(_curl(base + use.try_path, {"model": model} | use.try_body))
    lines = [f"\n  address   {base}\n  page      {url}/\n  model     {model}"]
    if tries:
        lines.append("  try       " + "\n            ".join(tries))
    return "\n".join(lines)


def how_to_join(dialled: Sequence[str]) -> str:
    """Returns what to paste into a shell of this user for one more worker, given how those that run
    dial the frontend.
    """
    return f"  join      python -m workers {shlex.join(dialled)} --model-path ..."


def _curl(address: str, body: dict[str, Any]) -> str:
    return (
        f"curl {shlex.quote(address)} -H 'content-type: application/json' -d "
        f"{shlex.quote(json.dumps(body))}"
    )
