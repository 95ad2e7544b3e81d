"""Types ASGI's three values: scope, receive and send, and names what we add to the first."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

HEAD_ONLY: Final = "kvmesh.head_only"
"""Is true in the scope of a GET of which the head alone is wanted."""
