"""A frontend's dispatch over a wire that only notes what is sent."""

import asyncio
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from types import SimpleNamespace
from typing import Any

from frontend.fleet.encoders import encodes
from frontend.fleet.model_entry import WHOLE, ModelEntry
from frontend.fleet.registry import Registry
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.fleet.worker import Worker
from frontend.mesh.dispatch import Dispatch
from frontend.mesh.offer import Offer
from frontend.mesh.wire import MeshWire
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.admission import AdmissionQueue
from frontend.routing.policies.kv_aware import KvAware
from frontend.routing.route import RouteRequest, Weights
from frontend.routing.router import Lifetimes, Router
from frontend.routing.waiting_memory import WaitingMemory
from kv_events.index import BlockBudget
from protocol.disaggregation import BootstrapServer
from protocol.generation import Generate, LogprobsWanted, Sampling
from protocol.media import MediaTaken, PromptMedia
from protocol.membership import Capacity, Hello, ModelCard, Service, Stage
from protocol.numbering import Numbering
from protocol.replies import Delta, StepBatch
from protocol.requests import Abort
from protocol.tokens import pack_tokens

CAPACITY = Capacity(dp_size=1, kv_tokens=100_000, page_size_tokens=16, requests_running_max=4)
SERVER = BootstrapServer("10.0.0.1", 8998)


class Chances:
    """Draws nothing: the first of what may be drawn."""

    def choice(self, among: Sequence[Any]) -> Any:
        return among[0]


def _wire(send: Callable[[Worker, Any], bool]) -> Any:
    wire: Any = SimpleNamespace(send=send)
    wire.send_abort = partial(MeshWire.send_abort, wire)
    return wire


class Bench:
    """A frontend's dispatch with workers that say nothing by themselves."""

    def __init__(self, *, min_prompt: int = 0, wire: Any = None) -> None:
        self.loop = asyncio.get_running_loop()
        self.registry = Registry(lambda: AdmissionQueue(WaitingMemory(1 << 20), None))
        self.metrics = FrontendMetrics().router
        self.sent: list[tuple[str, Any]] = []
        self.full: set[str] = set()
        lifetimes = Lifetimes(predicted_s=1.0, assumed_s=1.0, session_s=10.0)
        random: Any = Chances()
        self.dispatch = Dispatch(
            self.registry,
            wire or _wire(self._note),
            Router("kv", KvAware(Weights(), random), lifetimes),
            self.metrics,
            lambda: 0.0,
            chance=lambda bits: (1 << bits) - 1,
            disagg_min_prompt=min_prompt,
        )

    def join(
        self,
        worker_id: str,
        stage: Stage = WHOLE,
        *,
        model: str = "m",
        credit: int = 4,
        capacity: Capacity = CAPACITY,
        numbering: Numbering | None = None,
        fetches: bool = False,
        encoder: str = "",
        service: Service = "text",
    ) -> Worker:
        """A worker that serves from now on.

        Args:
            fetches: it takes what others made of pictures.
            encoder: names what makes it; empty where the model takes no pictures.
        """
        card = ModelCard(
            model,
            context_length=1 << 20,
            vocab_size=100,
            eos_token_ids=[0],
            files=[],
            media=MediaTaken(9, encoder=encoder) if encoder else None,
        )
        named = worker_id, 1, service, "dyn://n.c.e"
        hello = Hello(
            *named,
            card,
            capacity,
            credit,
            stage=stage,
            bootstrap=SERVER,
            encodings=f"tcp://{worker_id}",
            fetches_encodings=fetches,
        )
        identity = worker_id.encode()
        worker = Worker(identity, hello, self.loop.time(), BlockBudget(10_000), numbering)
        self.registry.connect(worker)
        if encodes(hello):
            self.registry.serve_pictures(worker)
        else:
            self.registry.serve(worker, SimpleNamespace(card=card))  # type: ignore[arg-type]
        return worker

    @property
    def entry(self) -> ModelEntry:
        return self.entry_of("m")

    def entry_of(self, model: str) -> ModelEntry:
        entry = self.registry.entry(model)
        assert entry is not None
        return entry

    async def place(
        self,
        *,
        tokens: int = 8,
        model: str = "m",
        request_id: str | None = None,
        logprobs: LogprobsWanted | None = None,
        media: Sequence[PromptMedia] = (),
        avoid: AbstractSet[str] = frozenset(),
        alone: bool = False,
        stream: bool = True,
        **route: Any,
    ) -> RequestStream:
        prompt = pack_tokens(range(tokens))
        named = request_id or f"{len(self.sent):032}", model
        sampling = Sampling(9, min_new_tokens=3)
        request = Generate(
            *named, prompt, sampling, 1, logprobs=logprobs, media=[*media], stream=stream
        )
        offer = Offer(request, RouteRequest(prompt, **route), avoid=avoid, alone=alone)
        return await self.dispatch.place(self.entry_of(model), offer, Wakeup(self.loop))

    def give(self, worker: Worker, request_id: str, tokens: int, *end: Any) -> None:
        start = worker.bookings[request_id].stream.tokens_received
        packed = pack_tokens(range(tokens))
        self.dispatch.take_step(worker, StepBatch([Delta(request_id, start, packed, *end)]))

    def aborted(self) -> list[str]:
        return [worker_id for worker_id, sent in self.sent if isinstance(sent, Abort)]

    def _note(self, worker: Worker, message: Any) -> bool:
        if worker.worker_id in self.full and not isinstance(message, Abort):
            return False
        self.sent.append((worker.worker_id, message))
        return True
