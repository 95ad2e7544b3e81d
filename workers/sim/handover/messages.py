"""What two simulated engines say to each other when one hands a prompt's cache over to the other.

The engine that generates says Meet when it has taken pages for a prompt; the one that computes
prompts then computes, sends for as long as the cache takes, and says HandedOver. Either side may
give up. Source of the order: srt/disaggregation of SGLang 0.5.23.
"""

from typing import Final

import msgspec
from msgspec import Struct

from protocol.disaggregation import Room
from protocol.errors import HandoverFailed
from protocol.fields import Count
from protocol.replies import Failed


class Meet(Struct, frozen=True, tag="meet", array_like=True):
    """Meet says that the pages for a prompt are taken: it may be computed and sent."""

    room: Room


class Leave(Struct, frozen=True, tag="leave", array_like=True):
    """Leave says that nobody waits for a prompt's cache any more."""

    room: Room


class HandedOver(Struct, frozen=True, tag="handed_over", array_like=True):
    """HandedOver says that a prompt's cache has arrived whole."""

    room: Room
    cached_tokens: Count


class Dropped(Struct, frozen=True, tag="dropped", array_like=True):
    """Dropped says that a prompt's cache will not come."""

    room: Room


Said = Meet | Leave | HandedOver | Dropped
"""What engines say to each other."""

encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Said).decode

WAIT_S_MAX: Final = 30.0
"""A leg waits this long for the other at most, as workers have SGLang wait."""

NO_CACHE: Final = Failed(HandoverFailed.code, "The cache of the prompt was not handed over.")
"""The end of a leg whose other leg failed, or never came: another pair may do better."""
