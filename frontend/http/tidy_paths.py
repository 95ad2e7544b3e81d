"""Takes paths with a slash too many, as base URLs that end with one make them, for the same as
without.
"""

import re
from typing import Final
from urllib.parse import unquote

from frontend.http.asgi import Scope

_SEVERAL: Final = re.compile(rb"/{2,}")


def tidied(scope: Scope) -> Scope:
    """Returns the scope with one slash where several follow each other, and none at the end.

    Escaped ones (%2F) are part of a name and stay.

    The same object if there is nothing to do; never changed in place, since the server reads its
    own.
    """
    raw: bytes = scope.get("raw_path", b"")
    if b"//" not in raw and not (raw.endswith(b"/") and raw != b"/"):
        return scope
    raw = _SEVERAL.sub(b"/", raw).rstrip(b"/") or b"/"
    return {**scope, "raw_path": raw, "path": unquote(raw.decode("latin-1"))}
