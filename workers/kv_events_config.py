"""SGLang's --kv-events-config says where each rank publishes its KV events; the worker sets what
the user did not.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta, Struct

from kv_events.engine_stream import StreamAddress
from protocol.limits import PORT_MAX
from protocol.process.own_directory import process_directory
from protocol.process.start_error import StartError
from protocol.transport.sockets import is_local

_LOOPBACK: Final = "127.0.0.1"
_IPC: Final = "ipc://"
_WILDCARDS: Final = ("*", "0.0.0.0", "[::]")  # noqa: S104 - read, not bound

REPLAY_BATCHES: Final = 2_000
"""A scheduler keeps this many batches of events for replays.

The relay is on its host and asks within a second, so this is a minute of reserve; SGLang's own
10,000 would be some 250 MB of prompts of 8k tokens.
"""


class KvEventsConfig(Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A KvEventsConfig has the fields of SGLang 0.5.23's configuration of KV events, under its
    names and with its defaults (srt/disaggregation/kv_events.py, KVEventsConfig).
    """

    publisher: Literal["null", "zmq"] = "null"
    endpoint: str = "tcp://*:5557"
    bind: bool | None = None
    replay_endpoint: str | None = None
    buffer_steps: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 10_000
    hwm: Annotated[int, Meta(ge=0, le=2**31 - 1)] = 100_000
    max_queue_size: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 100_000
    topic: str = ""
    format: Literal["default", "dynamo"] = "default"

    def as_json(self) -> str:
        """Returns the configuration in JSON, as the command line takes it."""
        return msgspec.json.encode(self).decode()


def with_events(given: str | None) -> str:
    """Returns the configuration to start an engine with: the user's, or one on sockets that only
    this user reaches, since events are prompts.

    A user's configuration without a replay endpoint gets one, since a gap would otherwise cost all
    that is known of a rank.

    Raises:
        StartError: the user's is malformed, or there is no directory for sockets.
    """
    if given is not None:
        config = read_config(given)
        if config.publisher == "null" or config.replay_endpoint is not None:
            return given
        return msgspec.structs.replace(config, replay_endpoint=_private("replay")).as_json()
    return KvEventsConfig(
        publisher="zmq",
        endpoint=_private("events"),
        buffer_steps=REPLAY_BATCHES,
        bind=True,
        replay_endpoint=_private("replay"),
        format="dynamo",  # tells adapters by name, and equal pages of different cache salts apart
    ).as_json()


def _private(name: str) -> str:
    return f"{_IPC}{process_directory()}/{name}"


def read_config(text: str) -> KvEventsConfig:
    """Reads the JSON of --kv-events-config.

    Raises:
        StartError: it is no such configuration.
    """
    try:
        return msgspec.json.decode(text, type=KvEventsConfig)
    except msgspec.MsgspecError as error:
        raise StartError(f"--kv-events-config: {error}") from None


def stream_addresses(config: KvEventsConfig, dp_ranks: Sequence[int]) -> list[StreamAddress]:
    """Returns the addresses at which the given ranks publish, as this host reaches them; empty when
    they do not.

    Raises:
        StartError: SGLang would not bind the endpoint, or it is not on this host.
    """
    if config.publisher == "null":
        return []
    host = config.endpoint.partition("://")[2].rpartition(":")[0]
    binds_unasked = config.endpoint.startswith(_IPC) or host in _WILDCARDS or "::" in host
    if config.bind is False or (config.bind is None and not binds_unasked):
        raise StartError(
            f"--kv-events-config: SGLang would connect to {config.endpoint} instead of "
            'binding it; add "bind": true'
        )
    return [
        StreamAddress(
            rank,
            of_rank(config.endpoint, rank),
            config.replay_endpoint and of_rank(config.replay_endpoint, rank),
        )
        for rank in dp_ranks
    ]


def of_rank(endpoint: str, dp_rank: int) -> str:
    """Returns the address of one rank's socket, as this host reaches it: ports count up by rank,
    paths end in it.

    Raises:
        StartError: it is no tcp://HOST:PORT whose ports suffice, or other hosts can reach it: only
        the relay's sockets leave the host, under the mesh's key.
    """
    if endpoint.startswith(_IPC) and endpoint != _IPC:
        return ipc_of_rank(endpoint, dp_rank)
    scheme, separator, rest = endpoint.partition("://")
    host, _, port = rest.rpartition(":")
    if (
        scheme != "tcp"
        or not separator
        or not host
        or not port.isdecimal()
        or not 0 < int(port) <= PORT_MAX - dp_rank
    ):
        raise StartError(
            f"--kv-events-config: {endpoint!r} is no ipc://PATH and no tcp://HOST:PORT with "
            f"a port for rank {dp_rank}"
        )
    address = f"tcp://{_LOOPBACK if host in _WILDCARDS else host}:{int(port) + dp_rank}"
    if not is_local(address):
        raise StartError(
            f"--kv-events-config: engine events stay on the host, and {address} is not on it"
        )
    return address


def ipc_of_rank(endpoint: str, dp_rank: int) -> str:
    """Returns the path of one rank's socket, for which SGLang has no rule of its own; the first
    rank's is the endpoint as it is.
    """
    return f"{endpoint}-{dp_rank}" if dp_rank else endpoint
