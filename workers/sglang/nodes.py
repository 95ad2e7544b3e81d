"""The nodes of one engine find each other before SGLang's processes do, so that SGLang lets nobody
else in.

With attention data parallelism over several nodes SGLang unpickles what anybody sends to its ports
on the first node, unless it is told whose addresses may. Those it cannot know; but its nodes hold
the mesh's key. So the first node opens the address where they are to meet, under the key, notes
from where each of the others says that it is there, and closes it again for SGLang.
"""

import ipaddress
import logging
import os
import socket
import time
from typing import Any, Final

import zmq

from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.sockets import Socket, bound_router, connected_dealer, is_local, require_key

ALLOWED_PEERS: Final = "SGLANG_ZMQ_ALLOWED_PEERS"
"""This environment variable names the addresses that SGLang lets in, with commas between them. What
the user set stays, and then nothing here is done.
"""

MEET_S_MAX: Final = 600.0
"""Nodes wait for each other at most this many seconds, as long as SGLang's own nodes do."""

_AGAIN_S: Final = 0.5

_HERE: Final = b"H"
"""A node begins with this, its rank behind it, until it hears _HEARD, which it says back with its
rank.
"""

_HEARD: Final = b"h"

log = logging.getLogger(__name__)


def admit_nodes(server_args: Any, key: MeshKey | None) -> None:
    """Finds out, from SGLang's arguments, which addresses may talk to the engine.

    Blocks until all nodes are there.

    Raises:
        StartError: there is no key, the address cannot be used, or nodes are missing.
    """
    spans_nodes = server_args.nnodes > 1 and (
        server_args.enable_dp_attention or (server_args.attn_dp_size or 1) > 1
    )
    if not spans_nodes or ALLOWED_PEERS in os.environ:
        return
    address = f"tcp://{server_args.dist_init_addr}"
    if is_local(address):
        return
    require_key(address, key)
    try:
        if server_args.node_rank:
            announce(address, server_args.node_rank, key)
        else:
            os.environ[ALLOWED_PEERS] = ",".join(gather(address, server_args.nnodes, key))
    except (OSError, zmq.ZMQError) as error:
        raise StartError(f"the engine's nodes cannot meet at {address}: {error}") from None


def gather(
    address: str, nodes: int, key: MeshKey | None, *, within_s: float = MEET_S_MAX
) -> list[str]:
    """Returns the addresses of the nodes of an engine, the first one's own among them, which is to
    call this.

    Raises:
        StartError: not all were there in time.
        OSError: the address has no such host.
    """
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    own = str(socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)[0][4][0])
    found: dict[bytes, str] = {}
    answered: set[bytes] = set()
    """These ranks know that they were found: ZMQ throws away what a peer has not read when we
    close.
    """
    context: zmq.Context[Socket] = zmq.Context()
    try:
        router = bound_router(
            context, f"tcp://[{own}]:{port}" if ":" in own else f"tcp://{own}:{port}", key
        )
        log.info("waiting at %s for the other %d nodes of the engine", address, nodes - 1)
        deadline = time.monotonic() + within_s
        while len(answered) < nodes - 1:
            if not router.poll(max(0, int(1_000 * (deadline - time.monotonic())))):
                raise StartError(
                    f"only {len(answered) + 1} of the engine's {nodes} nodes were at "
                    f"{address} within {within_s:g} s"
                )
            identity, *told = router.recv_multipart(copy=False)
            word, rank = told[0].bytes[:1], told[0].bytes[1:]
            if word == _HERE:
                found[rank] = _plain(str(told[0].get("Peer-Address")))
                router.send_multipart([identity.bytes, _HEARD])
            elif word == _HEARD and rank in found:
                answered.add(rank)
            # Anything else is a worker that takes this for a frontend.
        log.info("the engine's nodes: %s", ", ".join([own, *found.values()]))
        return list(dict.fromkeys([own, *found.values()]))
    finally:
        if key is not None:
            key.close()  # its thread belongs to this context, and the next ones want one of theirs
        context.destroy(linger=0)


def announce(
    address: str, node_rank: int, key: MeshKey | None, *, within_s: float = MEET_S_MAX
) -> None:
    """Says to the first node that this one is there.

    Raises:
        StartError: it did not answer in time.
    """
    context: zmq.Context[Socket] = zmq.Context()
    try:
        dealer = connected_dealer(context, address, key)
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if dealer.poll(int(1_000 * _AGAIN_S), zmq.POLLOUT):
                dealer.send(_HERE + b"%d" % node_rank, zmq.DONTWAIT)
                if dealer.poll(int(1_000 * _AGAIN_S)):
                    dealer.send(_HEARD + b"%d" % node_rank, zmq.DONTWAIT)
                    return
        raise StartError(
            f"the engine's first node did not answer at {address} within {within_s:g} s"
        )
    finally:
        context.destroy()  # the last word leaves within the linger time


def _plain(address: str) -> str:
    """Returns an IPv4 address without the form that it has on a socket for both versions."""
    found = ipaddress.ip_address(address)
    return str(getattr(found, "ipv4_mapped", None) or found)
