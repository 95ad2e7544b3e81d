"""docs/errors.md, made of the tree of errors."""

import re
from typing import Final

from frontend.api.anthropic.errors import ANTHROPIC_ERRORS
from manual.markdown import cell, code, table
from protocol.error_answers import HTTP
from protocol.errors import MeshError

_INTRODUCTION: Final = """\
# Errors

Made by `python -m manual` from `protocol/errors.py` and `protocol/error_answers.py`.

A request ends with a whole answer or exactly one error. Wherever possible it comes before the first
byte, for streams too, and is then the answer, with the status below:

```
{"error": {"message": "…", "type": "invalid_request_error", "param": "n", "code": "invalid_value"}}
```

Behind the first byte it is the last event of the stream, in the same form, and then `[DONE]`; of
`/v1/responses` it is `response.failed`, with the code `server_error`. Anthropic's endpoints have
its form, `{"type": "error", "error": {"type": …, "message": …}}`, with the type in the last column.
`param` names the field at fault, where there is one.

Programs should go by `code`. New codes may come; take those you do not know by their status. The
same codes are in metrics (`kvmesh_frontend_request_errors_total`) and in each request's line of the
log, under the id that the client has from `x-request-id`.
"""

_BEHIND: Final = """\
**again**: "yes" means that the same request may succeed if it is sent again, after so many seconds
(header `retry-after`). By then the mesh has tried what it could: a request that loses its worker is
moved to another one, and only who cannot be moved, or was moved too often, hears `worker_lost`.

What is no HTTP is refused before it is a request, in OpenAI's form and with the connection closed
behind it: 400 `invalid_http_request` and `too_many_pipelined_requests`, 408 `headers_timeout` and
`body_timeout`, 431 `headers_too_large`. Requests that came whole before it are answered first.

What becomes of requests when something fails: [faults](faults.md).
"""

_SAYS: Final = re.compile(r"An? (\w+) says that (.*?)\.\s*(?:\n\n.*)?", re.DOTALL)


def page() -> str:
    """Returns the whole of docs/errors.md."""
    rows = sorted(HTTP, key=lambda leaf: (HTTP[leaf][0], leaf.code))
    head = ("code", "status", "type", "when", "again", "Anthropic's type")
    return f"{_INTRODUCTION}\n{table(head, map(_row, rows))}\n\n{_BEHIND}"


def when(leaf: type[MeshError]) -> str:
    """Returns what an error's docstring says that it says.

    Raises:
        ValueError: it says something else first.
    """
    found = _SAYS.fullmatch(leaf.__doc__ or "")
    if found is None or found[1] != leaf.__name__:
        raise ValueError(f"{leaf.__name__}'s docstring must begin: A {leaf.__name__} says that ….")
    return " ".join(found[2].split())


def _row(leaf: type[MeshError]) -> list[str]:
    status, kind = HTTP[leaf]
    error = leaf("")
    after = "" if error.retry_after_s is None else f", {error.retry_after_s}\u00a0s"
    told = re.findall(rb'"type":"(\w+)"', ANTHROPIC_ERRORS.body(error))[1].decode()
    again = f"yes{after}" if leaf.retryable else ""
    return [code(leaf.code), str(status), code(kind), cell(when(leaf)), again, code(told)]
