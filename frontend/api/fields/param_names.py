"""Errors name fields as the client knows them, also where one API's request is run as another's."""

import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Final

from protocol.errors import InvalidRequest

_ROOT: Final = re.compile(r"[^.\[]*")


class ClientsName(str):
    """A ClientsName is a param that is the client's own already, with its position."""

    __slots__ = ()


@contextmanager
def params_named(names: Mapping[str, str]) -> Generator[None]:
    """Renames the `param` of errors that are raised within.

    Args:
        names: field of the request that is run → field that the client sent. What is behind the
        first dot or bracket is dropped, since
            positions differ; a ClientsName stays.
    """
    try:
        yield
    except InvalidRequest as error:
        root = _ROOT.match(error.param or "")
        named = isinstance(error.param, ClientsName)
        if root is not None and root.group() in names and not named:
            error.param = names[root.group()]
        raise
