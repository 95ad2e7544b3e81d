"""Speaks HTTP to a frontend of our own mesh: straight to the address, whatever proxy the
environment names for the internet.
"""

import http.client
import json
import urllib.error
import urllib.request
from typing import Any, Final

UNREACHABLE: Final = (OSError, http.client.HTTPException, ValueError)
"""Lists what opening an address and reading its answer may raise: nobody there, cut off, no HTTP,
no URL, no JSON.
"""

_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def open_url(url: str, *, timeout_s: float, body: dict[str, Any] | None = None) -> Any:
    """Sends a GET, or a POST of `body` as JSON; returns the response, a context manager of lines.

    `timeout_s` bounds each wait for bytes.

    Raises:
        urllib.error.HTTPError: the answer is an error.
        UNREACHABLE: there is none.
    """
    content = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} if content else {}
    request = urllib.request.Request(url, content, headers)  # noqa: S310
    return _OPENER.open(request, timeout=timeout_s)


def get_json(url: str, *, timeout_s: float, also_errors: bool = False) -> Any:
    """Sends a GET to `url` and returns the decoded answer, with `also_errors` that of an error too
    (a health page says no in JSON); raises as `open_url`.
    """
    try:
        with open_url(url, timeout_s=timeout_s) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        if not also_errors:
            raise
        with error:
            return json.load(error)


def error_message(error: urllib.error.HTTPError) -> str:
    """Returns what the frontend says is wrong, or what HTTP does where something else answered."""
    try:
        return json.load(error)["error"]["message"]
    except (*UNREACHABLE, LookupError, TypeError):
        return str(error)
