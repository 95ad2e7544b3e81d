"""Who may ask something of a worker on its system port, beyond how it is."""

import hmac
from pathlib import Path
from typing import Final

from protocol.process.start_error import StartError

TOKEN_CHARS_MIN: Final = 16
"""A token of fewer characters could be guessed."""

_SCHEME: Final = b"bearer "


class Access:
    """An Access decides whether something may be asked.

    Args:
        token: what must be shown; empty where nobody has one.
        this_host_only: nobody else reaches the server.
    """

    def __init__(self, token: str = "", *, this_host_only: bool = True) -> None:
        self._token = token.encode()
        self._this_host_only = this_host_only

    def refusal(self, authorization: bytes) -> tuple[int, str] | None:
        """Returns the status and the reason why who shows this may not ask; None if he may.

        Args:
            authorization: the header of that name.
        """
        if not self._token:
            return None if self._this_host_only else (403, _UNCONFIGURED)
        scheme, shown = authorization[: len(_SCHEME)], authorization[len(_SCHEME) :].strip()
        if scheme.lower() == _SCHEME and hmac.compare_digest(shown, self._token):
            return None
        return 401, "Show the worker's token: authorization: Bearer TOKEN."


def read_token(path: str | None) -> str:
    """Returns the token in a file; empty without a path.

    Raises:
        StartError: the file cannot be read, or holds none.
    """
    if path is None:
        return ""
    try:
        token = Path(path).expanduser().read_text("ascii").strip()
    except (OSError, ValueError):
        raise StartError(f"--system-token-file {path}: no text can be read there") from None
    if len(token) < TOKEN_CHARS_MIN or len(token.split()) != 1:
        raise StartError(
            f"--system-token-file {path} must hold one word of {TOKEN_CHARS_MIN} characters or more"
        )
    return token


_UNCONFIGURED: Final = (
    "This port is open beyond its host, where only who shows a token may ask: start the worker "
    "with --system-token-file FILE (KVMESH_SYSTEM_TOKEN_FILE), or without --system-host."
)
