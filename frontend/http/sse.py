"""Writes server-sent events that bear a name."""

from typing import Any

import msgspec

_encode = msgspec.json.Encoder().encode


def named_event(event: dict[str, Any]) -> bytes:
    """Returns one event in bytes; its name is the `type` within."""
    return b"event: " + str(event["type"]).encode() + b"\ndata: " + _encode(event) + b"\n\n"
