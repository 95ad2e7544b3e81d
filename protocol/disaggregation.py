"""A request's two legs on two workers: one computes the KV cache of the prompt, the other takes it
over and generates. Add-only.
"""

from typing import Annotated

from msgspec import Meta, Struct

from protocol.fields import DpRank, Name
from protocol.limits import PORT_MAX

Port = Annotated[int, Meta(ge=1, le=PORT_MAX)]
Room = Annotated[int, Meta(ge=1, le=2**63 - 1)]
"""Under which the legs of one request find each other. SGLang takes 0 for "none was said"."""


class BootstrapServer(Struct, frozen=True):
    """A BootstrapServer is where the workers that generate find out how to fetch what a prefill
    worker has computed.
    """

    host: Name
    port: Port


class Bootstrap(Struct, frozen=True, omit_defaults=True):
    """A Bootstrap tells a leg of a request where it meets the other leg.

    Both legs are told the address of the prefill worker's bootstrap server.
    """

    host: Name
    port: Port
    room: Room
    """Congruent to `prefill_dp_rank` modulo the ranks of the prefill worker, by which SGLang finds
    the rank too.
    """
    prefill_dp_rank: DpRank = 0
