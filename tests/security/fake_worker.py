"""A worker written by hand: it holds the mesh's key, or there is none, and says what it likes."""

import threading
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import zmq

from protocol.codec import ToFrontend, decode_to_worker, encode
from protocol.generation import Generate
from protocol.membership import Capacity, CardFile, Goodbye, Heartbeat, Hello, ModelCard
from protocol.numbering import Numbering
from protocol.replies import FileChunk
from protocol.requests import FetchFile, Refused, Welcome
from workers.demo_model import demo_model_dir
from workers.mesh.model_card import build_card

BEAT_MS = 200


class FakeWorker:
    """Beats in a thread of its own until `close`, or the end of the `with` block.

    Args:
        template: instead of the demo model's.
        on_generate: answers; called in the thread.
        fields: of Hello, instead of usual ones.
    """

    def __init__(
        self,
        mesh: str,
        name: str,
        *,
        template: str | None = None,
        aliases: tuple[str, ...] = (),
        on_generate: Callable[["FakeWorker", Generate], None] = lambda _fake, _request: None,
        **fields: Any,
    ) -> None:
        card, paths = build_card(demo_model_dir(), name=name)
        self._contents = {digest: path.read_bytes() for digest, path in paths.items()}
        files = [
            file for file in card.files if template is None or file.name != "chat_template.jinja"
        ]
        if template is not None:
            content = template.encode()
            digest = sha256(content).hexdigest()
            self._contents[digest] = content
            files.append(CardFile("chat_template.jinja", digest, len(content)))
        self.card = ModelCard(
            name, card.context_length, card.vocab_size, card.eos_token_ids, files, list(aliases)
        )
        self.answered = threading.Event()
        """It was welcomed or refused."""
        self.refusal = ""
        self._hello = Hello(**self._usual_fields() | fields)
        self._on_generate = on_generate
        self._numbering = Numbering(1)
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.connect(mesh)
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self) -> "FakeWorker":
        assert self.answered.wait(30)
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def send(self, message: ToFrontend) -> None:
        """From the thread alone."""
        self._socket.send_multipart(encode(message, self._numbering.head()))
        self._numbering.note_sent()

    def close(self, reason: str = "") -> None:
        """Say goodbye."""
        self._reason = reason
        self._leaving.set()
        self._thread.join(10)
        self._context.destroy(linger=500)

    def _usual_fields(self) -> dict[str, Any]:
        capacity = Capacity(
            dp_size=1, page_size_tokens=16, kv_tokens=1_000_000, requests_running_max=64
        )
        return {
            "worker_id": f"fake-{self.card.name}",
            "epoch": 1,
            "service": "text",
            "endpoint": "dyn://a.b.c",
            "card": self.card,
            "capacity": capacity,
            "credit_requests": 64,
        }

    def _run(self) -> None:
        self.send(self._hello)
        while not self._leaving.is_set():
            while self._socket.poll(BEAT_MS):
                self._take(self._socket.recv_multipart())
            self.send(Heartbeat(self._hello.worker_id, self._hello.epoch, []))
        self.send(Goodbye(self._reason))

    def _take(self, frames: list[bytes]) -> None:
        match decode_to_worker(frames):
            case FetchFile() as wanted:
                content = self._contents[wanted.sha256]
                self.send(FileChunk(wanted.sha256, 0, len(content), content))
            case Welcome():
                self.answered.set()
            case Refused() as refused:
                self.refusal = refused.reason
                self.answered.set()
            case Generate() as request:
                self._on_generate(self, request)
            case _:
                pass
