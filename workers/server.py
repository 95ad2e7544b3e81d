"""A worker's life: engine up, frontends dialled, beating, drained, gone.

What requests go through is `intake`.
"""

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import zmq
from msgspec.structs import replace

from kv_events.engine_stream import StreamAddress
from protocol.embedding import Embed
from protocol.generation import Generate
from protocol.limits import (
    CREDIT_REQUESTS_MAX,
    FILE_CHUNK_BYTES,
    HEARTBEAT_INTERVAL_S,
    MESSAGE_CHARS_MAX,
)
from protocol.membership import (
    AdapterList,
    Capacity,
    Draining,
    Goodbye,
    Heartbeat,
    Hello,
    RelayHello,
)
from protocol.process.start_error import StartError
from protocol.replies import FileChunk
from protocol.requests import Abort, FetchFile, Tokenize, ToWorker
from protocol.transport.curve import MeshKey
from protocol.transport.pump import SocketPump
from protocol.transport.sockets import Socket, connected_dealer
from workers.engine import Engine, EngineFacts, FollowerFacts
from workers.health.watched_engine import HealthSettings, WatchedEngine
from workers.kinds.kind import WorkerKind
from workers.mesh.addresses import AddressBook
from workers.mesh.frontend_link import FrontendLink
from workers.mesh.intake import Intake
from workers.mesh.kv_plane import KvPlane
from workers.mesh.loading import LoadingNotice
from workers.mesh.tokenizing import Tokenizing
from workers.mesh.unheard import Unheard
from workers.process.departure import Departure
from workers.system.adapters import Adapters, LoadAdapter, UnloadAdapter
from workers.system.board import Board, Phase, WorkerState
from workers.system.controls import Control, Controls

log = logging.getLogger(__name__)

CREDIT_REQUESTS_MIN = 64
"""Granted even by an engine that runs fewer: a queue of its own hides the way to the frontend and
back.
"""

FILES_SENT_MAX = 16
"""Model files under way to frontends at once, each in memory as a whole; a frontend asks for one
after the other.
"""

RESOLVE_EVERY_S = 5.0
"""How soon a new frontend behind a DNS name (a headless Service) is dialled."""


@dataclass(frozen=True, kw_only=True)
class KvSettings:
    """How a worker tells of its cache: see the settings kv_block_size, kv_host and kv_port."""

    block_size_tokens: int
    host: str | None
    port: int


class WorkerServer:
    """Connects one engine to any number of frontends.

    Args:
        kind: what type of worker it is.
        departure: says when to leave, and is told of the engine's death.
        board: shown with every beat what is true of the worker.
        controls: given what may be asked of the worker while it serves.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        kind: WorkerKind,
        worker_id: str,
        epoch: int,
        addresses: AddressBook,
        endpoint: str | None,
        key: MeshKey | None,
        kv: KvSettings,
        health: HealthSettings,
        departure: Departure,
        board: Board,
        controls: Controls,
    ) -> None:
        self._engine = WatchedEngine(engine, health, canaries=kind.canaries, clock=time.monotonic)
        self._kind = kind
        self._departure = departure
        self._board = board
        self._controls = controls
        self._adapters = Adapters(None, self._tell_adapters)
        self._untold: set[FrontendLink] = set()
        """Frontends that have yet to hear of the adapters, for want of room."""
        self._draining = False
        self._worker_id = worker_id
        self._epoch = epoch
        self._addresses = addresses
        self._endpoint = endpoint
        self._key = key
        self._kv_settings = kv
        self._kv: KvPlane | None = None
        self._context: zmq.Context[Socket] = zmq.Context()
        self._links: dict[str, FrontendLink] = {}
        self._ways = itertools.count(1)
        self._card_files: dict[str, Path] = {}
        self._hello: Hello | None = None
        self._tokenizing = Tokenizing(None, unix_ms=_unix_ms)
        self._sending: set[asyncio.Task[None]] = set()
        self._intake = Intake(
            self._engine, unix_ms=_unix_ms, on_idle=departure.note_idle, offers=self._offers
        )

    async def start(self, model: str) -> None:
        """Bring the engine up, telling the frontends meanwhile that `model` is loading.

        Raises:
            StartError: the engine cannot start, or a frontend is on another host and there is no
            key.
        """
        try:
            found = await self._addresses.resolve()
            unresolved = tuple(self._addresses.unresolved)
            with LoadingNotice(
                found, unresolved, worker_id=self._worker_id, model=model, key=self._key
            ):
                facts = await self._engine.start(self._intake.deliver, self._departure.note_death)
            page_size = (
                facts.page_size_tokens
                if isinstance(facts, FollowerFacts)
                else facts.capacity.page_size_tokens
            )
            # Whole pages make a block, so that one page never belongs to two.
            block_size = -(-self._kv_settings.block_size_tokens // page_size) * page_size
            self._kv = self._kv_plane(facts.kv_streams, block_size)
        except BaseException:
            await self._engine.stop()
            self._close_key()
            self._context.destroy(linger=0)
            raise
        if isinstance(facts, FollowerFacts):
            log.info(
                "%s is up and relays the KV events of %d ranks",
                facts.version,
                len(facts.kv_streams),
            )
            return
        self._adapters = Adapters(facts.adapters, self._tell_adapters)
        self._controls.open(
            asyncio.get_running_loop(),
            {
                "load_lora_adapter": Control(LoadAdapter, self._adapters.load),
                "unload_lora_adapter": Control(UnloadAdapter, self._adapters.unload),
            },
        )
        self._card_files = facts.card_files
        self._tokenizing = Tokenizing(facts.prompts, unix_ms=_unix_ms)
        self._hello = self._introduction(
            facts, replace(facts.capacity, block_size_tokens=block_size)
        )
        self._intake.credit_requests = self._hello.credit_requests
        self._intake.takes = self._kind.serving_of(facts).takes
        capacity = facts.capacity
        log.info(
            "%s is up: %s, %d ranks of %d KV tokens",
            facts.version,
            facts.card.name,
            capacity.dp_size,
            capacity.kv_tokens,
        )

    async def serve(self) -> None:
        """Serve until it is time to leave: finish what runs, as far as there is time for it, and
        say Goodbye.
        """
        departure = self._departure
        try:
            async with asyncio.TaskGroup() as tasks:
                beating = tasks.create_task(self._beat_forever())
                dialling = tasks.create_task(self._dial_forever())
                await departure.asked()
                if not departure.hasty:
                    await self._drain()
                beating.cancel()
                dialling.cancel()
        finally:
            await self._leave()

    async def _drain(self) -> None:
        self._draining = True
        for link in self._links.values():
            link.send(Draining())
        if self._intake:
            log.info("draining: %d requests still run", len(self._intake))
        await self._departure.grace_over()
        self._intake.closed = True
        await self._departure.drained(self._intake.__len__)

    async def _leave(self) -> None:
        """Tell the frontends first: they move what still runs while the engine ends."""
        self._intake.closed = True
        self._show("leaving")
        departure = self._departure
        if departure.death:
            log.error("the engine died: %s", departure.death)
        self._controls.close()
        self._tokenizing.close()
        for task in self._sending:
            task.cancel()
        for link in self._links.values():
            link.send(
                Goodbye(departure.death or "the worker was stopped", planned=not departure.death)
            )
            link.close()
        if self._kv is not None:
            self._kv.close()
        await self._end_engine()
        self._close_key()
        self._context.term()

    async def _end_engine(self) -> None:
        """In peace, until there is no time for it."""
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
            heartbeat = self._heartbeat()
            for link in self._untold.copy():
                self._tell(link)
            for link in self._links.values():
                try:
                    link.beat(
                        replace(heartbeat, others_share=self._intake.others_share(link))
                        if len(self._links) > 1
                        else heartbeat
                    )
                    if not stalled:
                        link.give_up_if_silent()
                except Exception:
                    # the others get theirs
                    log.exception("defect in the heartbeat to frontend %s", link.address)
            self._show("draining" if self._draining else "serving")
            due_at = loop.time() + HEARTBEAT_INTERVAL_S
            await asyncio.sleep(HEARTBEAT_INTERVAL_S)

    def _heartbeat(self) -> Heartbeat:
        kv, unhealthy = self._kv, self._engine.reason[:MESSAGE_CHARS_MAX]
        relay = None if kv is None else kv.counts()
        if self._hello is None and kv is not None:  # a follower's loads are its leader's to tell
            return Heartbeat(self._worker_id, self._epoch, kv.numbers(), relay)
        loads = self._engine.loads()
        return Heartbeat(
            self._worker_id,
            self._epoch,
            loads if kv is None else kv.numbered(loads),
            relay,
            unhealthy,
        )

    def _show(self, phase: Phase) -> None:
        state = WorkerState(
            phase=phase,
            unhealthy=self._engine.reason,
            requests_running=len(self._intake),
            frontends_connected=sum(link.accepted for link in self._links.values()),
            refusal=next((link.refusal for link in self._links.values() if link.refusal), ""),
            takes_requests=self._hello is not None,
            ranks=self._engine.states(),
        )
        self._board.show(state)

    async def _dial_forever(self) -> None:
        unheard = Unheard(keyed=self._key is not None)
        while True:
            for address in await self._addresses.resolve():
                if address not in self._links:
                    try:
                        self._links[address] = self._dial(address)
                    # DNS gave something that ZMQ cannot dial; the next answer may be better
                    except (StartError, zmq.ZMQError) as error:
                        log.error("cannot dial the frontend at %s: %s", address, error)
            # An address that DNS no longer names is kept while anyone answers there.
            for address in [
                a
                for a in self._links
                if a not in self._addresses.known and self._links[a].frontend_heard_at is None
            ]:
                link = self._links.pop(address)
                self._untold.discard(link)
                link.close()
            silent = [
                address for address, link in self._links.items() if link.frontend_heard_at is None
            ]
            unheard.look([*silent, *self._addresses.unresolved], time.monotonic())
            await asyncio.sleep(RESOLVE_EVERY_S)

    def _dial(self, address: str) -> FrontendLink:
        return FrontendLink(
            address,
            partial(SocketPump, connected_dealer(self._context, address, self._key)),
            hello=partial(self._hello_to, address, next(self._ways)),
            on_request=self._on_request,
            on_forgotten=self._intake.abort_all_of,
            unix_ms=_unix_ms,
        )

    def _close_key(self) -> None:
        """Its thread holds a socket of our context while we publish KV events under a key."""
        if self._key is not None:
            self._key.close()

    def _kv_plane(self, streams: Sequence[StreamAddress], block_size_tokens: int) -> KvPlane | None:
        if not streams:
            return None
        settings = self._kv_settings
        return KvPlane(
            self._context,
            streams,
            block_size_tokens=block_size_tokens,
            frontends=self._addresses.given,
            host=settings.host,
            port=settings.port,
            key=self._key,
        )

    def _hello_to(self, address: str, way: int) -> Hello | RelayHello | None:
        if self._draining:
            return None
        try:
            source = None if self._kv is None else self._kv.source_for(address)
        except OSError as error:
            log.warning("no way to the frontend at %s: %s", address, error.strerror)
            return None  # the next beat tries again
        if self._hello is not None:
            return replace(self._hello, kv=source, adapters=self._adapters.names, way=way)
        # A follower: its leader introduces the engine.
        return None if source is None else RelayHello(self._worker_id, self._epoch, source, way)

    def _introduction(self, facts: EngineFacts, capacity: Capacity) -> Hello:
        # What runs and as much again: when all that runs ends in one step, the next batch is there.
        credit = min(
            max(CREDIT_REQUESTS_MIN, 2 * capacity.requests_running_max * capacity.dp_size),
            CREDIT_REQUESTS_MAX,
        )
        serving = self._kind.serving_of(facts)
        return Hello(
            worker_id=self._worker_id,
            epoch=self._epoch,
            service=serving.service,
            stage=serving.stage,
            endpoint=self._endpoint or serving.endpoint,
            card=facts.card,
            capacity=capacity,
            credit_requests=credit,
            engine=facts.version,
        )

    def _offers(self, adapter: str) -> bool:
        return adapter in self._adapters

    def _tell_adapters(self, names: list[str]) -> None:
        log.info("LoRA adapters: %s", ", ".join(names) or "none")
        for link in self._links.values():
            self._tell(link)

    def _tell(self, link: FrontendLink) -> None:
        if link.send(AdapterList(self._adapters.names)):
            self._untold.discard(link)
        else:
            self._untold.add(link)

    def _on_request(self, link: FrontendLink, message: ToWorker) -> None:
        match message:
            case Generate() | Embed():
                self._intake.take(link, message)
            case Abort():
                self._intake.abort(link, message.request_id)
            case Tokenize():
                self._tokenizing.take(link, message)
            case FetchFile():
                self._send_file(link, message.sha256)
            case _:
                pass

    def _send_file(self, link: FrontendLink, sha256: str) -> None:
        path = self._card_files.get(sha256)
        if path is None or len(self._sending) >= FILES_SENT_MAX:
            log.warning("frontend %s asked for a file that is not sent", link.address)
            return
        task = asyncio.get_running_loop().create_task(_send_chunks(link, sha256, path))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)


def _unix_ms() -> float:
    return time.time() * 1000


async def _send_chunks(link: FrontendLink, sha256: str, path: Path) -> None:
    """Send a file piece by piece, so that heartbeats and tokens pass between them."""
    content = await asyncio.to_thread(path.read_bytes)
    for offset in range(0, max(len(content), 1), FILE_CHUNK_BYTES):
        if not link.send(
            FileChunk(sha256, offset, len(content), content[offset : offset + FILE_CHUNK_BYTES])
        ):
            return  # nobody there, or its queue is full: the frontend's deadline ends the fetch
        await asyncio.sleep(0)
