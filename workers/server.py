"""A worker brings its engine up, dials frontends, beats, drains and leaves.

What requests go through is `intake`.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from protocol.diffusion import worker_tag
from protocol.limits import HEARTBEAT_INTERVAL_S
from protocol.membership import Capacity, Draining, Goodbye, Hello, RankLoad
from protocol.operated import UNTOUCHED
from protocol.requests import Abort, ToWorker, Work
from workers.engine import Engine, EngineFacts, FollowerFacts
from workers.health.watched_engine import HealthSettings, WatchedEngine
from workers.kinds.kind import WorkerKind
from workers.mesh.addresses import AddressBook
from workers.mesh.frontend_link import FrontendLink
from workers.mesh.intake import Intake
from workers.mesh.introduction import Introduction, credit_of, hello_of
from workers.mesh.kv_plane import KvPlane, KvSettings
from workers.mesh.links import Links
from workers.mesh.media_part import MediaPart
from workers.mesh.questions import Questions
from workers.mesh.transport import Transport
from workers.observe.served import served_by
from workers.process.departure import Departure
from workers.system.asking import Asking
from workers.system.board import Board, Phase, WorkerState
from workers.system.controls import Controls

log = logging.getLogger(__name__)


class WorkerServer:
    """A WorkerServer connects one engine to any number of frontends.

    Args:
        kind: what type of worker it is.
        transport: how frontends are reached. Closed when the worker has served; whoever made it
        abandons it if that never comes.
        clock: monotonic seconds.
        unix_ms: wall clock, against which deadlines are meant.
        departure: says when to leave, and is told of the engine's death.
        board: shown with every beat what is true of the worker.
        controls: given what may be asked of the worker while it serves.
        credit: unfinished requests that each frontend may have here, of the engine's capacity.
    Attributes:
        links: to the frontends.
        intake: what their requests pass.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        kind: WorkerKind,
        transport: Transport,
        clock: Callable[[], float],
        unix_ms: Callable[[], float],
        worker_id: str,
        epoch: int,
        addresses: AddressBook,
        endpoint: str | None,
        kv: KvSettings,
        health: HealthSettings,
        departure: Departure,
        board: Board,
        controls: Controls,
        credit: Callable[[Capacity], int] = credit_of,
    ) -> None:
        self._engine = WatchedEngine(engine, health, canaries=kind.canaries, clock=clock)
        self._kind = kind
        self._transport = transport
        self._worker_id = worker_id
        self._epoch = epoch
        self._addresses = addresses
        self._endpoint = endpoint
        self._kv_settings = kv
        self._kv: KvPlane | None = None
        self._departure = departure
        self._board = board
        self._credit = credit
        self._clock = clock
        self._questions = Questions(unix_ms=unix_ms, on_change=departure.note_idle)
        self._media = MediaPart(self._engine, transport, on_fetched=departure.note_idle)
        self.intake = Intake(
            self._media.fetching,
            unix_ms=unix_ms,
            on_idle=self._note_idle,
            offers=lambda adapter: self._asking.offers(adapter),  # noqa: PLW0108 - of then
            counts=board.counts,
            spans=board.spans,
        )
        self._media.fetching.deliver = self.intake.deliver
        self.links = Links(
            addresses,
            transport.open_dealer,
            hello=lambda address, way: self._introduction.hello_to(address, way),  # noqa: PLW0108 - of then
            on_request=self._on_request,
            on_forgotten=self.intake.abort_all_of,
            on_silent=transport.note_silent,
            unix_ms=unix_ms,
            counts=board.counts,
        )
        self._asking: Asking = Asking(
            controls, self._engine, self.intake, self.links.tell_adapters, self._beat
        )
        self._introduction = self._introduced(None)

    async def start(self, model: str) -> None:
        """Brings the engine up, telling the frontends meanwhile that `model` is loading.

        Raises:
            StartError: the engine cannot start, or a frontend is on another host and there is no
            key.
        """
        try:
            found = await self._addresses.resolve()
            unresolved = tuple(self._addresses.unresolved)
            with self._transport.loading(found, unresolved, worker_id=self._worker_id, model=model):
                begun_at = self._clock()
                facts = await self._engine.start(self.intake.deliver, self._departure.note_death)
                loaded_s = self._clock() - begun_at
            kv_settings = self._kv_settings.of_whole_pages(
                facts.page_size_tokens
                if isinstance(facts, FollowerFacts)
                else facts.capacity.page_size_tokens
            )
            if facts.kv_streams:
                self._kv = self._transport.kv_plane(
                    facts.kv_streams, kv_settings, frontends=self._addresses.given
                )
            if isinstance(facts, EngineFacts) and facts.encodings is not None:
                self._media.hand_out(facts.encodings, kv_settings, self._addresses.given)
        except BaseException:
            await self._engine.stop()
            raise
        if isinstance(facts, FollowerFacts):
            self._introduction = self._introduced(None)
            log.info(
                "%s is up and relays the KV events of %d ranks",
                facts.version,
                len(facts.kv_streams),
            )
        else:
            self._open(facts, kv_settings.block_size_tokens, loaded_s)

    async def serve(self) -> None:
        """Serves until it is time to leave; then finishes what runs, as far as there is time for
        it, and says Goodbye.
        """
        departure = self._departure
        try:
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self._beat_forever())
                dialling = tasks.create_task(self.links.dial_forever())
                await departure.asked()
                if not departure.hasty:
                    await self._drain()
                beating.cancel()
                dialling.cancel()
        finally:
            await self._leave()

    def _open(self, facts: EngineFacts, block_size_tokens: int, loaded_s: float) -> None:
        """Opens the worker, whose engine is up, for requests."""
        self._asking.open(facts)
        self._questions.open(facts, worker_tag(self._worker_id, self._epoch))
        capacity = replace(facts.capacity, block_size_tokens=block_size_tokens)
        serving = self._kind.serving_of(facts)
        if serving.fetches_encodings:
            self._media.fetch(grids_only=not serving.computes_prompts)
        self.intake.takes = serving.takes
        self.intake.credit_requests = self._credit(capacity)
        hello = hello_of(
            facts,
            capacity,
            worker_id=self._worker_id,
            epoch=self._epoch,
            service=serving.service,
            stage=serving.stage,
            endpoint=self._endpoint or serving.endpoint,
            credit_requests=self.intake.credit_requests,
            fetches_encodings=serving.fetches_encodings,
        )
        self._introduction = self._introduced(hello)
        self._board.open(served_by(hello, loaded_s), facts.metrics)
        log.info(
            "%s is up: %s, %d ranks of %d KV tokens",
            facts.version,
            facts.card.name,
            capacity.dp_size,
            capacity.kv_tokens,
        )

    def _introduced(self, hello: Hello | None) -> Introduction:
        return Introduction(
            self._worker_id,
            self._epoch,
            hello=hello,
            engine=self._engine,
            adapters=lambda: self._asking.adapters.names,
            kv=self._kv,
            door=self._media.door,
            operated=lambda: self._asking.operated,
        )

    async def _drain(self) -> None:
        self._introduction.withdrawn = True
        self.links.send(Draining())
        if self.intake:
            log.info("draining: %d requests still run", len(self.intake))
        await self._departure.grace_over()
        self.intake.closed = True
        self._asking.leave()
        self._questions.outputs.hand_back()
        await self._departure.drained(
            lambda: len(self.intake) + self._media.owed + self._questions.outputs.owed
        )

    async def _leave(self) -> None:
        """Leaves the mesh and ends the engine. The frontends are told first: they move what still
        runs while the engine ends.
        """
        self.intake.closed = True
        self._show("leaving")
        departure = self._departure
        if departure.death:
            log.error("the engine died: %s", departure.death)
        self._asking.close()
        self._questions.close()
        self.links.send(
            Goodbye(departure.death or "the worker was stopped", planned=not departure.death)
        )
        self.links.close()
        self._media.close()
        if self._kv is not None:
            self._kv.close()
        await self._end_engine()
        await self._transport.close()

    async def _end_engine(self) -> None:
        """Ends the engine in peace, until there is no time for it."""
        if not self._departure.hasty:
            stopping = asyncio.ensure_future(self._engine.stop())
            hurried = asyncio.ensure_future(self._departure.hurried())
            await asyncio.wait({stopping, hurried}, return_when=asyncio.FIRST_COMPLETED)
            hurried.cancel()
            if stopping.done():
                return stopping.result()
            stopping.cancel()
        return await self._engine.kill()

    async def _beat_forever(self) -> None:
        loop = asyncio.get_running_loop()
        due_at = loop.time()
        while True:
            # A late beat means that this loop stood still: what the frontends said meanwhile is
            # still unread.
            stalled = loop.time() - due_at > HEARTBEAT_INTERVAL_S
            self._engine.check()
            self._beat(stalled=stalled)
            due_at = loop.time() + HEARTBEAT_INTERVAL_S
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def _beat(self, *, stalled: bool = True) -> None:
        heartbeat = self._introduction.heartbeat()
        self.links.beat(heartbeat, self.intake.others_share, stalled=stalled)
        self._show("draining" if self._introduction.withdrawn else "serving", heartbeat.ranks)

    def _note_idle(self) -> None:
        self._departure.note_idle()
        self._asking.note_idle()

    def _show(self, phase: Phase, loads: Sequence[RankLoad] = ()) -> None:
        state = WorkerState(
            phase=phase,
            unhealthy=self._engine.reason,
            requests_running=len(self.intake),
            frontends_connected=self.links.accepted,
            refusal=self.links.refusal,
            takes_requests=self._introduction.takes_requests,
            operated=self._asking.operated or UNTOUCHED,
            ranks=self._engine.states(),
            loads=loads,
        )
        self._board.show(state)

    def _on_request(self, link: FrontendLink, message: ToWorker) -> None:
        if isinstance(message, Work):
            self.intake.take(link, message)
        elif isinstance(message, Abort):
            self.intake.abort(link, message.request_id)
        else:
            self._questions.take(link, message)
