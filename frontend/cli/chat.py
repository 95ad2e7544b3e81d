"""Holds a conversation with a running frontend, in the terminal: `kvmesh chat`."""

import argparse
import json
import urllib.error
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from frontend.cli.addresses import api_url
from frontend.cli.direct_http import UNREACHABLE, error_message, get_json, open_url
from frontend.models.services import GENERATION, use_of

with suppress(ImportError):  # not every Python has it
    import readline  # noqa: F401  # pyright: ignore[reportUnusedImport]  # gives input() its line editing and history

SILENCE_S_MAX = 600.0
"""Bounds the time between two pieces of an answer, the first one's queueing and prefill included:
the frontend's own default limit of a request.
"""

Message = dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `kvmesh chat`."""
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000/v1",
        help="base URL of the frontend, with or without /v1",
    )
    parser.add_argument("--model", help="model to talk to; the first one that talks if not given")
    parser.add_argument("--system", help="system prompt")


def run(options: argparse.Namespace) -> int:
    """Reads questions from the terminal and streams the answers, until Ctrl-D; returns the exit
    code.
    """
    url = api_url(options.url)
    try:
        model = options.model or _first_that_talks(url)
    except (*UNREACHABLE, LookupError, TypeError, AttributeError):
        print(f"kvmesh: no model is served at {url}")
        return 1
    if model is None:
        print(f"kvmesh: no model that talks is served at {url}; kvmesh chat --image draws")
        return 1
    messages: list[Message] = (
        [{"role": "system", "content": options.system}] if options.system else []
    )
    print(f"talking to {model}; Ctrl-D ends")
    while True:
        try:
            question = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        asked = [*messages, {"role": "user", "content": question}]
        answer = _show_answer(
            f"{url}/chat/completions", {"model": model, "messages": asked, "stream": True}
        )
        if answer:  # a question without one is forgotten, and can be asked again
            messages = [*asked, {"role": "assistant", "content": answer}]


def _first_that_talks(url: str) -> str | None:
    """Returns the name of the first model that generates text; None if those served do not.

    Raises:
        UNREACHABLE, LookupError, TypeError, AttributeError: no model is served.
    """
    models: list[dict[str, Any]] = get_json(f"{url}/models", timeout_s=10)["data"]
    if not models:
        raise LookupError
    # a server of somebody else does not say what its models are for
    talking = (each["id"] for each in models if use_of(each.get("service", GENERATION)).generates)
    return next(talking, None)


def _show_answer(url: str, body: dict[str, Any]) -> str:
    """Prints the answer as it comes; returns what came of it before its end, an error or Ctrl-C."""
    answer = ""
    try:
        for text in _stream(url, body):
            print(text, end="", flush=True)
            answer += text
        print()
    except KeyboardInterrupt:
        print()  # the answer is cut, the conversation goes on
    except urllib.error.HTTPError as error:
        print(error_message(error))
    except UNREACHABLE as error:
        print(
            f"\nkvmesh: the answer broke off: {error}" if answer else f"kvmesh: no answer: {error}"
        )
    except _AnswerFailed as failed:
        print(f"\n[{failed}]")
    return answer


class _AnswerFailed(Exception):
    """An _AnswerFailed says that a stream ended with an error, or without an end."""


def _stream(url: str, body: dict[str, Any]) -> Iterator[str]:
    with open_url(url, timeout_s=SILENCE_S_MAX, body=body) as answer:
        for line in answer:
            if line.startswith(b"data: [DONE]"):
                return
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if "error" in event:
                    raise _AnswerFailed(event["error"]["message"])
                for choice in event.get("choices", []):
                    yield choice["delta"].get("content") or ""
    raise _AnswerFailed("the answer broke off")  # http.client takes a cut connection for the end
