"""What started processes answer over HTTP."""

import json
import re
import socket
import urllib.error
import urllib.request
from typing import Any


def port_open(port: int) -> bool:
    """Whether somebody listens on 127.0.0.1:`port`."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def http_page(url: str) -> tuple[int, Any]:
    """The status and the JSON that a GET of `url` answers, an error's too.

    Raises:
        OSError: nobody answers.
    """
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def http_json(url: str) -> Any:
    """The JSON that a GET of `url` answers.

    Raises:
        OSError: nobody answers, or with an error.
    """
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)


def http_metric(url: str, name: str, **labels: str) -> float:
    """The sum of a metric at `url`/metrics over all label sets that have these.

    Raises:
        OSError: nobody answers, or with an error.
    """
    total = 0.0
    with urllib.request.urlopen(url + "/metrics", timeout=10) as answer:
        for line in answer.read().decode().splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(
                f'{label}="{value}"' in (match[1] or "") for label, value in labels.items()
            ):
                total += float(match[2])
    return total
