"""What becomes of pictures whose encode worker leaves, stops or has other files."""

import secrets
import shutil
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import zmq

from protocol.encoding import Encode, Encoded
from protocol.media import PromptMedia
from protocol.media_plane import Encodings, FetchEncodings, decode_encodings, encode_question
from protocol.membership import Draining, Goodbye, Hello
from tests.fault.encoder_peer import EncoderPeer
from tests.fault.mesh_peer import FrontendPeer
from tests.fleet.test_encoders import ENCODER, RED, WORKER, ask, busy, encoded
from tests.fleet.test_pictures import MODEL, SIM, messages, said
from tests.kit.fleet import Fleet

REQUEST_ID = "1" * 32
ANSWERED_MS_MAX = 20_000


def fetched(dealer: "zmq.Socket[bytes]") -> Encodings:
    dealer.send_multipart(encode_question(FetchEncodings(REQUEST_ID)))
    assert dealer.poll(ANSWERED_MS_MAX), "the door is closed"
    return decode_encodings(dealer.recv_multipart())


def test_a_worker_that_leaves_hands_out_first_what_it_made(fleet: Fleet) -> None:
    with FrontendPeer(fleet.mesh) as peer:
        worker = fleet.worker(*ENCODER)
        hello = peer.wait_for(Hello)
        picture = PromptMedia("image", b"x", 1 + secrets.randbits(62), tokens=2)
        peer.send(Encode(REQUEST_ID, MODEL, [picture], 4_000_000_000_000, fetches=1))
        assert isinstance(peer.end_of(REQUEST_ID).end, Encoded)
        worker.popen.send_signal(signal.SIGTERM)
        peer.wait_for(Draining)
        with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
            dealer.setsockopt(zmq.LINGER, 0)
            dealer.connect(hello.encodings)
            assert [each.rows for each in fetched(dealer).encodings] == [2]
        peer.wait_for(Goodbye)
        assert worker.popen.wait(10) == 0


def test_an_encoder_that_stops_is_not_waited_for(fleet: Fleet) -> None:
    fleet.frontend()
    encoder = fleet.worker(*SIM, "--multimodal-encode-worker", "--sim-encode-ms", "100000")
    fleet.worker(*WORKER)
    fleet.wait_for_workers(2)
    with fleet.client() as client, ThreadPoolExecutor() as threads:
        answer = threads.submit(ask, client, RED, "What is it?")
        fleet.wait_until(lambda: bool(busy(fleet)), "the encoder is busy")
        encoder.popen.send_signal(signal.SIGSTOP)
        try:
            assert said(answer.result())
        finally:
            encoder.popen.send_signal(signal.SIGCONT)
    assert encoded(fleet) == 0


def test_a_deadline_ends_what_is_being_encoded(fleet: Fleet) -> None:
    fleet.frontend("--request-timeout", "1")
    unwatched = {"DYN_HEALTH_CHECK_ENABLED": "false"}
    fleet.worker(*SIM, "--multimodal-encode-worker", "--sim-encode-ms", "100000", env=unwatched)
    worker = fleet.worker(*WORKER)
    fleet.wait_for_workers(2)
    body = {"model": MODEL, "messages": messages(RED, "What is it?"), "max_tokens": 8}
    answer = httpx.post(f"{fleet.url}/v1/chat/completions", json=body, timeout=60)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (504, "deadline_exceeded")
    fleet.wait_until(lambda: not busy(fleet), "nothing runs")
    assert "pictures" not in worker.output()  # which clients could fill its log with


def test_an_encoder_of_other_files_is_not_asked_and_said_to_be_none(
    fleet: Fleet, tmp_path: Path
) -> None:
    model_dir = SIM[SIM.index("--model-path") + 1]
    other = tmp_path / "other"
    shutil.copytree(model_dir, other)
    config = other / "config.json"
    config.write_text(config.read_text() + " ")
    options = [str(other) if each == model_dir else each for each in ENCODER]
    frontend = fleet.frontend()
    fleet.worker(*options, "--worker-id", "other")
    fleet.worker(*WORKER)
    fleet.wait_for_workers(2)
    with fleet.client() as client:
        assert said(ask(client, RED, "What is it?"))
    assert encoded(fleet) == 0
    assert "worker other encodes no pictures for sees" in frontend.output()


def test_an_encoder_that_cannot_be_fetched_from_is_given_up_for_a_while(fleet: Fleet) -> None:
    frontend = fleet.frontend()
    fleet.worker(*WORKER)
    fleet.wait_for_workers(1)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # which accepts, and says nothing
        door = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        with EncoderPeer(fleet.mesh, MODEL, door) as peer, fleet.client() as client:
            fleet.wait_for_workers(2)
            assert said(ask(client, RED, "What is it?")) == said(ask(client, RED, "What is it?"))
        assert peer.asked == 1
    assert "goes on as" in frontend.output()
