"""Errors name fields as the client knows them, also where one API's request is run as another's."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from protocol.errors import InvalidRequest

_ROOT: Final = re.compile(r"[^.\[]*")


@contextmanager
def params_named(names: Mapping[str, str]) -> Generator[None]:
    """Renames the `param` of errors that are raised within.

    Args:
        names: field of the request that is run → field that the client sent. What is behind the
        first dot or bracket is dropped, since
            positions differ.
    """
    try:
        yield
    except InvalidRequest as error:
        root = _ROOT.match(error.param or "")
        if root is not None and root.group() in names:
            error.param = names[root.group()]
        raise
