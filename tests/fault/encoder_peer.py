"""An encode worker written by hand, which says that it encodes and hands nothing out."""

import threading
import time
from types import TracebackType
from typing import Self

import zmq

from protocol.codec import ToFrontend, decode_to_worker, encode
from protocol.encoding import Encode, Encoded
from protocol.limits import HEARTBEAT_INTERVAL_S
from protocol.membership import Capacity, Heartbeat, Hello, ModelCard, RankLoad
from protocol.numbering import Numbering
from protocol.replies import Delta, StepBatch
from protocol.requests import HelloWanted
from workers.demo_model import demo_model_dir
from workers.sim.pictures import media_of

_NAME = "unreachable"


class EncoderPeer:
    """Joins a frontend, and answers what it is to encode at once.

    Args:
        mesh: the frontend's address.
        door: where it says that encodings are fetched.
    Attributes:
        asked: how many requests it was to encode for.
    """

    def __init__(self, mesh: str, model: str, door: str) -> None:
        self.asked = 0
        self._mesh = mesh
        card = ModelCard(
            model,
            context_length=4_096,
            vocab_size=2_048,
            eos_token_ids=[],
            files=[],
            media=media_of(demo_model_dir("vision")),
        )
        capacity = Capacity(dp_size=1, page_size_tokens=16, kv_tokens=1_000, requests_running_max=8)
        self._hello = Hello(
            _NAME, 1, "encode", "dyn://a.b.c", card, capacity, 64, stage="encode", encodings=door
        )
        self._numbering = Numbering()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()

    def _serve(self) -> None:
        with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
            socket.setsockopt(zmq.LINGER, 0)
            socket.connect(self._mesh)
            self._numbering = Numbering(1)
            self._send(socket, self._hello)
            beats_at = 0.0
            while not self._over.is_set():
                if time.monotonic() >= beats_at:  # whatever the frontend's own beats leave of it
                    beats_at = time.monotonic() + HEARTBEAT_INTERVAL_S
                    self._send(socket, Heartbeat(_NAME, 1, [RankLoad(0, 0, 0, 0)]))
                if not socket.poll(int(1_000 * HEARTBEAT_INTERVAL_S)):
                    continue
                message = decode_to_worker(socket.recv_multipart())
                if isinstance(message, HelloWanted):
                    self._numbering = Numbering(self._numbering.session + 1)
                    self._send(socket, self._hello)
                elif isinstance(message, Encode):
                    self.asked += 1
                    end = Encoded(len(message.media))
                    self._send(socket, StepBatch([Delta(message.request_id, 0, b"", end)]))

    def _send(self, socket: "zmq.Socket[bytes]", message: ToFrontend) -> None:
        socket.send_multipart(encode(message, self._numbering.head()))
        self._numbering.note_sent()
