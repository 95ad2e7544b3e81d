"""Bytes that are no message, on the mesh and over HTTP: refused, counted, and the socket lives
on.
"""

import os
import socket
import urllib.request
from random import Random

import msgspec
import openai
import zmq

from protocol.codec import encode
from protocol.limits import CURVE_BYTES, FRAME_BYTES_MAX, WIRE_VERSION
from protocol.membership import Heartbeat
from protocol.replies import Delta, StepBatch
from protocol.tokens import pack_tokens
from tests.kit.fleet import Fleet


def _metric(fleet: Fleet, name: str) -> float:
    with urllib.request.urlopen(f"{fleet.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_malformed_mesh_messages_are_counted_and_change_nothing(
    shared: Fleet, client: openai.OpenAI
) -> None:
    random = Random(7)
    before = _metric(shared, "kvmesh_frontend_malformed_messages_total")
    hostile = [
        [b""],
        [WIRE_VERSION],
        [b"\x02", b"\xc0"],
        [WIRE_VERSION, b"\x91" * 50_000],
        [WIRE_VERSION, msgspec.msgpack.encode({"type": "hello"})],
        [WIRE_VERSION, b"\x80\x04\x95cbuiltins\neval\n."],
        *([WIRE_VERSION, random.randbytes(random.randrange(200))] for _ in range(200)),
        *([encode(StepBatch([]))[1]] * 3,),
    ]
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(shared.mesh)
    for frames in hostile:
        dealer.send_multipart(frames)
    shared.wait_until(
        lambda: (
            _metric(shared, "kvmesh_frontend_malformed_messages_total") >= before + len(hostile)
        ),
        "all are counted",
    )
    context.destroy(linger=0)
    assert (
        client.completions.create(model="demo", prompt="still there", max_tokens=2).choices[0].text
    )


def test_a_stranger_cannot_speak_for_a_worker(shared: Fleet, client: openai.OpenAI) -> None:
    """Tokens and heartbeats from a connection that never said Hello reach no request; it is asked
    to introduce itself.
    """
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    dealer.connect(shared.mesh)
    dealer.send_multipart(encode(StepBatch([Delta("0" * 32, 0, pack_tokens([1]))])))
    dealer.send_multipart(encode(Heartbeat("vm", 1, [])))
    assert dealer.poll(5000)
    assert b"hello_wanted" in dealer.recv_multipart()[1]
    context.destroy(linger=0)
    assert (
        client.completions.create(model="demo", prompt="still there", max_tokens=2).choices[0].text
    )


def test_an_oversized_frame_costs_its_sender_the_connection(
    shared: Fleet, client: openai.OpenAI
) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    dealer = context.socket(zmq.DEALER)
    monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
    dealer.connect(shared.mesh)
    dealer.send_multipart([WIRE_VERSION, bytes(FRAME_BYTES_MAX + CURVE_BYTES + 1)])
    assert monitor.poll(20_000)
    context.destroy(linger=0)  # the monitor's socket too
    assert (
        client.completions.create(model="demo", prompt="still there", max_tokens=2).choices[0].text
    )


def _raw(fleet: Fleet, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", fleet.http_port), timeout=30) as connection:
        connection.sendall(data)
        answer = b""
        while received := connection.recv(65536):
            answer += received
        return answer


def test_headers_over_64_kb_are_refused(shared: Fleet) -> None:
    answer = _raw(
        shared,
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-big: " + b"a" * 70_000 + b"\r\n\r\n",
    )
    assert answer.startswith(b"HTTP/1.1 431")
    assert b'"error"' in answer


def test_what_is_no_http_gets_a_400(shared: Fleet) -> None:
    assert _raw(shared, os.urandom(64).replace(b"\n", b"") + b"\r\n\r\n").startswith(
        b"HTTP/1.1 400"
    )
