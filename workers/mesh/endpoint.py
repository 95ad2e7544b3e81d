"""The name under which a worker is listed: dyn://namespace.component.endpoint, as in the reference
product.
"""

import re
from typing import Final

from protocol.errors import StartError
from protocol.limits import NAME_CHARS_MAX
from protocol.membership import Role

_ENDPOINT: Final = re.compile(r"dyn://[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch

_OF_ROLE: Final[dict[Role, str]] = {
    "decode": "dyn://kvmesh.backend.generate",
    "embedding": "dyn://kvmesh.embedding.embed",
}


def check_endpoint(endpoint: str) -> None:
    """Refuse what is no endpoint's name.

    Raises:
        StartError: showing what one looks like.
    """
    if not _ENDPOINT(endpoint) or len(endpoint) > NAME_CHARS_MAX:
        raise StartError(
            "--endpoint must be dyn://namespace.component.endpoint (letters, digits, - and "
            f"_), not {endpoint[:80]!r}"
        )


def endpoint_of(role: Role) -> str:
    """The name of a worker that was given none."""
    return _OF_ROLE[role]
