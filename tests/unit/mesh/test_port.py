"""The port that workers connect to says where it is, and who may join there without a key."""

import socket
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex

import pytest
import zmq

from frontend.mesh.port import open_port
from protocol.transport.curve import MeshKey
from protocol.transport.sockets import Socket, bound_router


@pytest.fixture
def context() -> Iterator["zmq.Context[Socket]"]:
    context: zmq.Context[Socket] = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture(params=["open", "keyed"])
def key(request: pytest.FixtureRequest, context: "zmq.Context[Socket]") -> Iterator[MeshKey | None]:
    if request.param == "open":
        yield None
        return
    key = MeshKey(b"k" * 32)
    # its thread starts with the first socket, for which a frontend's loop waits once
    bound_router(context, "tcp://127.0.0.1:0", key).close(linger=0)
    yield key
    key.close()


async def test_any_free_port_is_known_once_it_is_bound(
    context: "zmq.Context[Socket]", key: MeshKey | None
) -> None:
    port = open_port(context, "tcp://127.0.0.1:0", key)
    port.open(lambda _: None, lambda _: None)
    host, _, number = port.address.rpartition(":")
    assert host == "tcp://127.0.0.1"
    socket.create_connection(("127.0.0.1", int(number)), timeout=10).close()
    port.close()


async def test_a_path_is_told_as_it_was_given(
    context: "zmq.Context[Socket]", key: MeshKey | None, tmp_path: Path
) -> None:
    port = open_port(context, f"ipc://{tmp_path}/mesh", key)
    port.open(lambda _: None, lambda _: None)
    assert port.address == f"ipc://{tmp_path}/mesh"
    port.close()


@pytest.mark.parametrize("joined_by", ["any user", "who may enter its directory"])
async def test_who_may_join_without_a_key_is_said(
    context: "zmq.Context[Socket]",
    joined_by: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    anybody = joined_by == "any user"
    address = f"ipc://@{token_hex(8)}" if anybody else f"ipc://{tmp_path}/mesh"
    port = open_port(context, address, None)
    port.open(lambda _: None, lambda _: None).close()
    await port.deserted()
    assert ("any user of this host may join" in caplog.text) == anybody
