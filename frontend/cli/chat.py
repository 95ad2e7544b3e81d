"""`kvmesh chat`: a conversation with a running frontend, in the terminal."""

import argparse
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kvmesh chat`."""
    parser.add_argument("--url", default="http://127.0.0.1:8000/v1", help="base URL of the frontend")
    parser.add_argument("--model", help="model to talk to; the first one served if not given")
    parser.add_argument("--system", help="system prompt")


def run(options: argparse.Namespace) -> int:
    """Read questions from the terminal and stream the answers; Ctrl-D ends. Returns the exit code."""
    try:
        model = options.model or _get(f"{options.url}/models")["data"][0]["id"]
    except (OSError, IndexError):
        print(f"kvmesh: no model is served at {options.url}")
        return 1
    messages = [{"role": "system", "content": options.system}] if options.system else []
    print(f"talking to {model}; Ctrl-D ends")
    while True:
        try:
            question = input("> ")
        except (EOFError, KeyboardInterrupt):
            print()
            return 0
        messages.append({"role": "user", "content": question})
        answer = ""
        try:
            for text in _stream(f"{options.url}/chat/completions", {"model": model, "messages": messages, "stream": True}):
                print(text, end="", flush=True)
                answer += text
        except KeyboardInterrupt:
            pass  # the answer is cut, the conversation goes on
        except urllib.error.HTTPError as error:
            print(json.load(error)["error"]["message"])
            messages.pop()
            continue
        print()
        messages.append({"role": "assistant", "content": answer})


def _get(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - the address the user gave
        return json.load(answer)


def _stream(url: str, body: dict[str, Any]) -> Iterator[str]:
    request = urllib.request.Request(url, json.dumps(body).encode(), {"content-type": "application/json"})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        for line in answer:
            if line.startswith(b"data: {"):
                event = json.loads(line[6:])
                if "error" in event:
                    yield f"\n[{event['error']['message']}]"
                for choice in event.get("choices", []):
                    yield choice["delta"].get("content") or ""
