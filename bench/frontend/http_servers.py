"""Compares HTTP servers under load and under attack: `python -m bench.frontend.http_servers [--only
attack|load]`.

Every candidate runs bench/frontend/http_app.py in a process of its own. Attacks are raw sockets;
load comes from bench/kit/loadgen. The table behind the choice of server is in
bench/results/http_servers.json.
"""

import argparse
import importlib.util
import json
import socket
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bench.compare.systems import machine
from bench.kit import usage
from bench.kit.load import run_load
from starter.pages import port_open
from starter.ports import free_port
from starter.process import REPO, Process, start
from starter.waiting import wait_until

MIB = 1024 * 1024
HEADER_ATTACK_BYTES = 64 * MIB
BODY_ATTACK_BYTES = 200 * MIB
TRICKLE_BYTES_PER_S = 256 * 1024
ATTACK_S_MAX = 30.0
UVICORN = [
    "-m",
    "uvicorn",
    "bench.frontend.http_app:app",
    "--loop",
    "uvloop",
    "--no-access-log",
    "--log-level",
    "critical",
    "--lifespan",
    "off",
]
GRANIAN = [
    "-m",
    "granian",
    "bench.frontend.http_app:app",
    "--interface",
    "asginl",
    "--http",
    "1",
    "--no-ws",
    "--no-log",
    "--loop",
    "uvloop",
]
CANDIDATES = {
    "uvicorn+h11": [*UVICORN, "--http", "h11"],
    "uvicorn+httptools": [*UVICORN, "--http", "httptools"],
    "uvicorn+guarded": [*UVICORN, "--http", "bench.frontend.guarded_http:GuardedAlone"],
}
# measured once for the choice and not one of the project's needs: pip install granian
if importlib.util.find_spec("granian"):
    CANDIDATES["granian"] = GRANIAN


def serving(candidate: str, port: int) -> Process:
    command = [sys.executable, *CANDIDATES[candidate], "--port", str(port)]
    return start(command, REPO / "bench/results/local" / f"{candidate}.log")


def one_header() -> Iterator[bytes]:
    yield b"POST /count HTTP/1.1\r\nhost: x\r\nbig: "
    yield from (b"a" * MIB for _ in range(HEADER_ATTACK_BYTES // MIB))
    yield b"\r\ncontent-length: 0\r\n\r\n"


def many_headers() -> Iterator[bytes]:
    line = b"x-header-of-an-attacker: " + b"a" * 101 + b"\r\n"
    yield b"POST /count HTTP/1.1\r\nhost: x\r\n"
    yield from (line * (MIB // len(line)) for _ in range(HEADER_ATTACK_BYTES // MIB))
    yield b"content-length: 0\r\n\r\n"


def trickled_header() -> Iterator[bytes]:
    """64 KiB of header and more at 256 KiB/s, 8 KiB at a time."""
    yield b"POST /count HTTP/1.1\r\nhost: x\r\nbig: "
    for _ in range(int(8 * TRICKLE_BYTES_PER_S / 8192)):
        time.sleep(8192 / TRICKLE_BYTES_PER_S)
        yield b"a" * 8192
    yield b"\r\ncontent-length: 0\r\n\r\n"


def slowloris() -> Iterator[bytes]:
    """One byte a second: does anything end it within ATTACK_S_MAX?"""
    yield b"POST /count HTTP/1.1\r\nhost: x\r\nslow: "
    while True:
        time.sleep(1)
        yield b"a"


def sized_body(path: str) -> Iterator[bytes]:
    yield f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_ATTACK_BYTES}\r\n\r\n".encode()
    yield from (b"a" * MIB for _ in range(BODY_ATTACK_BYTES // MIB))


def chunked_body(path: str) -> Iterator[bytes]:
    yield f"POST {path} HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    yield from (b"100000\r\n" + b"a" * MIB + b"\r\n" for _ in range(BODY_ATTACK_BYTES // MIB))
    yield b"0\r\n\r\n"


ATTACKS: dict[str, Callable[[], Iterator[bytes]]] = {
    "one 64 MiB header": one_header,
    "64 MiB of headers": many_headers,
    "2 MiB header trickled": trickled_header,
    "slowloris": slowloris,
    "200 MiB body": lambda: sized_body("/count"),
    "200 MiB chunked body": lambda: chunked_body("/count"),
    "200 MiB body, handler not reading": lambda: sized_body("/stall"),
}


def attack(port: int, payload: Iterator[bytes]) -> tuple[str, int, float]:
    """Sends until answered or cut off.

    Returns the status line's code ("closed", "reset" or "none" without one), bytes sent, seconds.
    """
    begun, sent, count, status = time.monotonic(), 0, 0, "none"
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(0)
        pending = b""
        while time.monotonic() - begun < ATTACK_S_MAX:
            try:
                answer = sock.recv(65536)
                status = (
                    answer.split(b" ", 2)[1].decode() if answer.startswith(b"HTTP/") else "closed"
                )
                break
            except BlockingIOError:
                pass
            except OSError:
                status = "reset"
                break
            pending = pending or next(payload, b"")
            try:
                count = sock.send(pending) if pending else 0
                sent, pending = sent + count, pending[count:]
            except BlockingIOError:
                time.sleep(0.001)
            except OSError:  # the answer, if any, is still to be read
                pending, payload = b"", iter(())
            if not pending and count == 0:
                time.sleep(0.001)
    return status, sent, time.monotonic() - begun


def attack_all(candidate: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for name, payload in ATTACKS.items():
        port = free_port()
        with serving(candidate, port) as server:
            wait_until(lambda port=port: port_open(port), candidate, [server])
            attack(port, iter([b"POST /count HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n"]))
            usage.reset_peak_rss(server.pid)
            before, cpu_before = usage.rss_mib(server.pid), usage.cpu_s(server.pid)
            status, sent, seconds = attack(port, payload())
            rows.append(
                {
                    "server": candidate,
                    "attack": name,
                    "status": status,
                    "sent_mib": round(sent / MIB, 2),
                    "seconds": round(seconds, 2),
                    "rss_before_mib": round(before, 1),
                    "rss_peak_added_mib": round(usage.peak_rss_mib(server.pid) - before, 1),
                    "cpu_s": round(usage.cpu_s(server.pid) - cpu_before, 2),
                }
            )
            print(rows[-1], flush=True)
    return rows


def load_round(candidate: str, bodies: Path, duration_s: float) -> dict[str, float]:
    """One start of the server: unary at 64 keep-alive connections, then 64 streams of 256
    chunks.
    """
    port = free_port()
    with serving(candidate, port) as server:
        wait_until(lambda: port_open(port), candidate, [server])
        run_load(port, bodies, path="/count", concurrency=64, requests=2000)
        cpu_before = usage.cpu_s(server.pid)
        unary = run_load(port, bodies, path="/count", concurrency=64, duration_s=duration_s)
        cpu_between = usage.cpu_s(server.pid)
        streams = run_load(port, bodies, path="/stream?256", concurrency=64, duration_s=duration_s)
        cpu_after = usage.cpu_s(server.pid)
        return {
            "req_per_s": unary["req_per_s"],
            "cpu_ms_per_req": (cpu_between - cpu_before) * 1e3 / unary["ok"],
            "e2e_p99_ms": unary["e2e_ms"]["p99"],
            "chunks_per_s": streams["events_per_s"],
            "cpu_us_per_chunk": (cpu_after - cpu_between) * 1e6 / streams["events"],
            "gap_p99_ms": streams["gap_ms"]["p99"],
            "rss_mib": usage.rss_mib(server.pid),
            "pss_mib": usage.pss_mib(server.pid),
        }


def load_all(rounds: int, duration_s: float) -> dict[str, dict[str, float]]:
    """Medians over `rounds`; the candidates take turns, so that a slow minute of the machine hits
    all of them.
    """
    bodies = REPO / "bench/results/local/http_servers.jsonl"
    bodies.write_text(
        json.dumps({"messages": [{"role": "user", "content": "x" * 700}], "stream": True}) + "\n"
    )
    found: dict[str, list[dict[str, float]]] = {candidate: [] for candidate in CANDIDATES}
    for _ in range(rounds):
        for candidate, rows in found.items():
            rows.append(load_round(candidate, bodies, duration_s))
            print(candidate, {key: round(value, 3) for key, value in rows[-1].items()}, flush=True)
    return {
        candidate: {key: round(statistics.median(row[key] for row in rows), 4) for key in rows[0]}
        for candidate, rows in found.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=["attack", "load"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--duration-s", type=float, default=2.0)
    parser.add_argument("--out", type=Path, default=REPO / "bench/results/http_servers.json")
    arguments = parser.parse_args()
    result: dict[str, Any] = json.loads(arguments.out.read_text()) if arguments.out.exists() else {}
    result["machine"] = machine()
    result["versions"] = {
        name: version(name)
        for name in (
            "uvicorn",
            "h11",
            "httptools",
            "uvloop",
            *(["granian"] * ("granian" in CANDIDATES)),
        )
    }
    if arguments.only != "load":
        result["attacks"] = [row for candidate in CANDIDATES for row in attack_all(candidate)]
    if arguments.only != "attack":
        result["load"] = load_all(arguments.rounds, arguments.duration_s)
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
