"""A frontend's membership of two workers over a wire that only notes what is sent."""

from types import SimpleNamespace
from typing import Any

from frontend.fleet.stream import RequestStream
from frontend.mesh.membership import Membership
from frontend.mesh.outputs import Outputs
from frontend.mesh.queries import Queries
from frontend.mesh.wire import MeshWire
from kv_events.index import BlockBudget
from protocol.codec import encode
from protocol.numbering import Numbering
from protocol.replies import Delta, StepBatch
from protocol.requests import Welcome
from tests.unit.mesh.dispatch_bench import Bench

WELL, SICK = "1" * 32, "2" * 32


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("injected")


class Mesh(Bench):
    """Takes frames of two workers, on one of which two requests run."""

    def __init__(self) -> None:
        wire = MeshWire(self._open, lambda: None)
        super().__init__(wire=wire)
        self.frames: list[tuple[bytes, bytes]] = []
        self.mesh = Membership(
            self.registry,
            wire,
            self.dispatch,
            Queries(self.registry, wire.send, lambda: 0.0),
            Outputs(self.registry, wire.send, lambda: ""),
            welcome=Welcome("f"),
            prepare=boom,
            subscriber=None,
            budget=BlockBudget(100),
            losses=boom,  # type: ignore[arg-type]
            unix_s=lambda: 0.0,
        )
        self.streams: dict[str, RequestStream] = {}
        self._numbering = Numbering(1, sent=1)

    async def run(self) -> None:
        self.worker = self.join("a", numbering=Numbering(1, received=1))
        for request_id in (SICK, WELL):
            self.streams[request_id] = await self.place(request_id=request_id)
        self.join("b")

    def _open(self, receive: Any, _: Any) -> Any:
        self.receive = receive
        return SimpleNamespace(send=self._send, close=lambda: None)

    def _send(self, frames: list[bytes]) -> bool:
        self.frames.append((frames[0], frames[-1]))
        return True

    def step(self, *deltas: Delta) -> None:
        self.receive([b"a", *encode(StepBatch(list(deltas)), self._numbering.head())])
        self._numbering.note_sent()

    @property
    def aborts(self) -> list[bytes]:
        return [packed for _, packed in self.frames if b"abort" in packed]
