"""What happened in a run: a running hash of all of it, and the end in words."""

import struct
from collections import deque
from typing import Final
from zlib import crc32

from protocol.codec import decode_to_frontend, decode_to_worker
from protocol.encoding import Encode
from protocol.errors import ProtocolViolation
from protocol.generation import Finished, Generate
from protocol.membership import Heartbeat, Hello
from protocol.numbering import numbers_of
from protocol.replies import Delta, Failed, StepBatch
from protocol.requests import Abort, FrontendHeartbeat
from protocol.tokens import count_tokens

_MOMENT: Final = struct.Struct("<d")

_LINES_MAX: Final = 4_000
"""Kept for whoever reads a failure."""


class Trace:
    """Messages as they arrive, and events.

    Attributes:
        digest: equal for equal runs.
    """

    def __init__(self) -> None:
        self.digest = 0
        self._lines: deque[tuple[float, str, list[bytes] | str]] = deque(maxlen=_LINES_MAX)

    def message(self, now: float, lane: str, frames: list[bytes]) -> None:
        """A message arrived."""
        digest = crc32(_MOMENT.pack(now), self.digest)
        for frame in frames:
            digest = crc32(frame, digest)
        self.digest = digest
        if b"heartbeat" not in frames[1] or b"unhealthy" in frames[1]:
            self._lines.append((now, lane, frames))

    def event(self, now: float, what: str) -> None:
        """Something else happened."""
        self.digest = crc32(f"{now} {what}".encode(), self.digest)
        self._lines.append((now, "", what))

    def told(self, lines: int) -> str:
        """The last events and messages in words, without heartbeats."""
        words = [line for entry in self._lines if (line := _line(*entry))]
        return "\n".join(words[-lines:])


def _line(now: float, lane: str, what: list[bytes] | str) -> str:
    """Empty for what would only hide the rest."""
    if isinstance(what, str):
        return f"{now:10.4f} {what}"
    try:
        message = decode_to_frontend(what) if ">" in lane else decode_to_worker(what)
    except ProtocolViolation as violation:
        return f"{now:10.4f} {lane} {violation.message}"
    match message:
        case FrontendHeartbeat():
            return ""
        case Heartbeat():
            words = f"unhealthy: {message.unhealthy}" if message.unhealthy else ""
        case StepBatch():
            words = ", ".join(_delta(delta) for delta in message.deltas)
        case Generate():
            tokens, limit = count_tokens(message.token_ids), message.sampling.max_new_tokens
            words = (
                f"Generate {_short(message.request_id)}: {tokens} tokens, {limit} more, rank "
                f"{message.routed_dp_rank}{_pictures(message)}"
            )
        case Encode():
            digests = [each.digest for each in message.media]
            words = f"Encode {_short(message.request_id)}: {digests} for {message.fetches}"
        case Abort():
            words = f"Abort {_short(message.request_id)}"
        case Hello():
            words = f"Hello {message.worker_id} of epoch {message.epoch % 10_000}"
        case _:
            words = str(message)
    return f"{now:10.4f} {lane} {numbers_of(what[0])} {words}" if words else ""


def _pictures(request: Generate) -> str:
    where = f" encoded at {request.encoded_at}" if request.encoded_at else ""
    return f", pictures {[each.digest for each in request.media]}{where}" if request.media else ""


def _delta(delta: Delta) -> str:
    end = (
        ""
        if delta.end is None
        else f" {delta.end.reason}"
        if isinstance(delta.end, Finished)
        else f" {delta.end.code}"
        if isinstance(delta.end, Failed)
        else " encoded"
    )
    return f"{_short(delta.request_id)} {delta.start}+{count_tokens(delta.token_ids)}{end}"


def _short(request_id: str) -> str:
    return request_id[:2] + "-" + request_id[-3:]
