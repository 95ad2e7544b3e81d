"""Answers pages of other origins, where the operator names them; Starlette's middleware does the
work.
"""

from collections.abc import Sequence
from typing import Final

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

_METHODS: Final = ("GET", "HEAD", "OPTIONS", "POST", "DELETE")
_SHOWN: Final = ("x-request-id", "retry-after", "x-kvmesh-ignored", "traceresponse")
"""Lists the headers of ours that a page may read."""


def with_cors(app: ASGIApp, origins: Sequence[str]) -> ASGIApp:
    """Returns `app`, which pages of these origins may call; itself, and at no cost, if there are
    none.
    """
    if not origins:
        return app
    return CORSMiddleware(
        app,
        allow_origins=origins,
        allow_methods=_METHODS,
        allow_headers=["*"],
        expose_headers=_SHOWN,
    )
