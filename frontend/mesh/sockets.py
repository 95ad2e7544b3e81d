"""Makes the context of all ZMQ sockets of a frontend, with room for as many as its workers need."""

from typing import Final

import zmq

from frontend.mesh.introductions import WORKERS_MAX
from frontend.mesh.kv_sources import RELAYS_MAX
from protocol.transport.sockets import Socket

OTHER_SOCKETS_MAX: Final = 64
"""Bounds the sockets that no worker needs: the door, the events of all, siblings, the monitors."""


def mesh_context() -> "zmq.Context[Socket]":
    """Returns a context with room for a socket to each worker and node that may connect.

    While a rank's blocks are asked for, its node has a socket: those of a frontend that starts
    under a thousand workers are asked all at once, and ZMQ's own bound is 1,023.
    """
    context: zmq.Context[Socket] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, WORKERS_MAX + RELAYS_MAX + OTHER_SOCKETS_MAX)
    return context
