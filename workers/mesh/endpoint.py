"""The name under which a worker is listed: dyn://namespace.component.endpoint, as in the reference
product.
"""

import re
from typing import Final

from protocol.limits import NAME_CHARS_MAX
from protocol.membership import Service
from protocol.process.start_error import StartError

_ENDPOINT: Final = re.compile(r"dyn://[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch

_OF_SERVICE: Final[dict[Service, str]] = {
    "text": "dyn://kvmesh.backend.generate",
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


def endpoint_of(service: Service) -> str:
    """The name of a worker that was given none."""
    return _OF_SERVICE[service]
