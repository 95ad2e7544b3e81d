"""A worker is listed under a name dyn://namespace.component.endpoint, as in the reference
product.
"""

import re
from typing import Final

from protocol.limits import NAME_CHARS_MAX
from protocol.process.start_error import StartError

_ENDPOINT: Final = re.compile(r"dyn://[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+").fullmatch


def check_endpoint(endpoint: str) -> None:
    """Refuses what is no endpoint's name.

    Raises:
        StartError: showing what one looks like.
    """
    if not _ENDPOINT(endpoint) or len(endpoint) > NAME_CHARS_MAX:
        raise StartError(
            "--endpoint must be dyn://namespace.component.endpoint (letters, digits, - and "
            f"_), not {endpoint[:80]!r}"
        )
