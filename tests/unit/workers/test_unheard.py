"""Why a frontend is not heard, said of real sockets; and when."""

import logging
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

from protocol.transport.curve import MeshKey
from protocol.transport.sockets import bound_router
from starter.ports import free_port
from workers.mesh import unheard as subject
from workers.mesh.unheard import SAID_AFTER_S, SAID_AGAIN_S, Unheard, why_unheard

KEY = MeshKey(b"k" * 32)


@pytest.fixture
def context() -> Iterator["zmq.Context[zmq.Socket[bytes]]"]:
    with zmq.Context() as made:
        yield made
        made.destroy(linger=0)


@pytest.mark.parametrize(
    ("theirs", "keyed", "why"),
    [
        (None, False, "does not answer"),
        (None, True, "it has no mesh key and this worker has one"),
        (KEY, False, "it has a mesh key and this worker none"),
        (KEY, True, "if this is said again, the keys differ"),
    ],
)
def test_a_key_on_one_side_or_another_one_is_told(
    context: "zmq.Context[zmq.Socket[bytes]]", theirs: MeshKey | None, keyed: bool, why: str
) -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    router = bound_router(context, address, theirs)
    try:
        assert why in why_unheard(address, keyed=keyed)
    finally:
        router.close(linger=0)
        if theirs is not None:
            theirs.close()


def test_a_socket_in_a_file_is_asked_too(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    with bound_router(context, f"ipc://{tmp_path}/mesh", None):
        assert "does not answer" in why_unheard(f"ipc://{tmp_path}/mesh", keyed=False)
    assert "cannot be reached: No such file" in why_unheard(f"ipc://{tmp_path}/nobody", keyed=False)


def test_an_abstract_name_is_asked_too(
    context: "zmq.Context[zmq.Socket[bytes]]", tmp_path: Path
) -> None:
    address = f"ipc://@{tmp_path}"
    with bound_router(context, address, None):
        assert "does not answer" in why_unheard(address, keyed=False)
    assert "cannot be reached: Connection refused" in why_unheard(f"{address}/nobody", keyed=False)


def test_nobody_no_name_and_somebody_else_are_told_apart() -> None:
    assert "cannot be reached: Connection refused" in why_unheard(
        f"tcp://127.0.0.1:{free_port()}", keyed=False
    )
    assert "does not resolve" in why_unheard("tcp://nobody.invalid:5550", keyed=False)
    for answer, why in (
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "HTTP is spoken there"),
        (b"SSH-2.0\r\n", "no mesh port"),
        (b"", "no mesh port"),
    ):
        with socket.create_server(("127.0.0.1", 0)) as listener:

            def serve_one(answer: bytes = answer, listener: socket.socket = listener) -> None:
                with listener.accept()[0] as connection:
                    connection.recv(64)
                    connection.sendall(answer)

            serving = threading.Thread(target=serve_one)
            serving.start()
            assert why in why_unheard(f"tcp://127.0.0.1:{listener.getsockname()[1]}", keyed=False)
            serving.join()


def test_it_is_said_after_a_while_and_then_once_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(
        subject, "why_unheard", lambda address, *, keyed: f"nobody at {address}, {keyed}"
    )
    unheard = Unheard(keyed=True)

    def said(silent: list[str], now: float) -> list[str]:
        caplog.clear()
        unheard.look(silent, now)
        if unheard._thread is not None:
            unheard._thread.join()
        return [
            record.message.partition(": ")[2]
            for record in caplog.records
            if record.levelno == logging.WARNING
        ]

    assert said(["a", "b"], 0.0) == []
    assert said(["a"], SAID_AFTER_S) == ["nobody at a, True"]
    assert said(["a", "b"], SAID_AFTER_S + 1) == []  # b was heard meanwhile: its time begins anew
    assert said(["a", "b"], 2 * SAID_AFTER_S + 1) == ["nobody at b, True"]
    assert said(["a"], SAID_AFTER_S + SAID_AGAIN_S) == ["nobody at a, True"]
    assert said([], 1e6) == []
