"""The proxy between workers and frontends leaves nothing behind."""

import gc
import socket
import threading
from contextlib import closing

import pytest

from bench.faults.proxy import TcpProxy


def _connect(address: str) -> socket.socket:
    host, _, port = address.removeprefix("tcp://").partition(":")
    return socket.create_connection((host, int(port)))


@pytest.mark.parametrize("forwarding", [True, False])
def test_a_closed_proxy_leaves_no_task_no_socket_and_no_thread(forwarding: bool) -> None:
    before = set(threading.enumerate())
    for _ in range(10):
        with socket.create_server(("127.0.0.1", 0)) as target:
            with TcpProxy(f"tcp://127.0.0.1:{target.getsockname()[1]}") as proxy:
                here = _connect(proxy.address)
                there, _ = target.accept()
                here.sendall(b"x")
                assert there.recv(1) == b"x"
                if not forwarding:
                    proxy.stop_forwarding()
                    here.sendall(bytes(1 << 16))
                just_come = _connect(proxy.address)  # which it may not have seen yet
            with closing(here), closing(there), closing(just_come):
                assert set(threading.enumerate()) == before
    gc.collect()  # a transport or a task that was left speaks now, and fails this test


def test_both_ends_hear_that_the_other_one_closed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as target,
        TcpProxy(f"tcp://127.0.0.1:{target.getsockname()[1]}") as proxy,
        closing(_connect(proxy.address)) as here,
    ):
        there, _ = target.accept()
        there.sendall(b"last words")
        there.close()
        assert here.recv(10, socket.MSG_WAITALL) == b"last words"
        assert here.recv(1) == b""
