import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.kit.loadgen.build import build
from starter.pages import port_open
from starter.ports import free_port
from starter.process import Process, start
from starter.waiting import wait_until


@pytest.fixture
def bare_server(tmp_path: Path) -> Iterator[Callable[..., int]]:
    """Starts bare servers; gives their ports."""
    started: list[Process] = []

    def serve(*options: str) -> int:
        port = free_port()
        command = [build("bare_server"), "--port", port, *options]
        started.append(process := start(command, tmp_path / f"bare{port}.log"))
        wait_until(lambda: port_open(port), "bare", [process])
        return port

    yield serve
    for process in started:
        process.interrupt()


@pytest.fixture
def bodies(tmp_path: Path) -> Callable[..., Path]:
    """Writes a bodies file."""

    def write(*documents: dict[str, Any]) -> Path:
        path = tmp_path / "bodies.jsonl"
        path.write_text("".join(json.dumps(document) + "\n" for document in documents))
        return path

    return write


@pytest.fixture
def scripted_server() -> Iterator[Callable[[list[bytes]], int]]:
    """A server that answers every connection's first request with the given pieces, each in a write
    of its own, then closes.
    """
    listeners: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket, pieces: list[bytes]) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                received = b""
                while b"\r\n\r\n" not in received or not received.endswith(b"}"):
                    received += peer.recv(65536)
                try:
                    for piece in pieces:
                        peer.sendall(piece)
                except OSError:
                    continue

    def start(pieces: list[bytes]) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threads.append(threading.Thread(target=serve, args=(listener, pieces)))
        threads[-1].start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
    for thread in threads:
        thread.join()


@pytest.fixture
def c_program(tmp_path: Path) -> Callable[[str, str], str]:
    """Compiles a small C program against bench/kit/loadgen's headers and gives what it prints for
    some input.
    """

    def run(source: str, text: str) -> str:
        (tmp_path / "program.c").write_text(source)
        folder = Path(build("loadgen")).parent
        program = tmp_path / "program"
        subprocess.run(
            [
                "gcc",
                "-O1",
                "-D_GNU_SOURCE",
                f"-I{folder}",
                "-o",
                program,
                tmp_path / "program.c",
                "-lm",
            ],
            check=True,
        )
        return subprocess.run(
            [program], input=text, capture_output=True, text=True, check=True
        ).stdout

    return run
