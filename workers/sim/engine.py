"""The sim engine is a `workers.engine.Engine` in this process, without a model."""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import msgspec
import zmq

from protocol.embedding import Embed
from protocol.generation import Finished, Generate
from protocol.membership import RankLoad
from protocol.process.start_error import StartError
from protocol.replies import Delta, Failed
from protocol.requests import Work
from protocol.tokens import count_tokens
from protocol.transport.sockets import Socket
from workers.engine import CANARY_PREFIX, Deliver, EngineFacts, OnDeath
from workers.kv_events_config import KvEventsConfig, read_config, stream_addresses, with_events
from workers.sim.abilities import refusal_of
from workers.sim.assembly import limits_of, open_outlets, ranks_of, read_model, text_of
from workers.sim.embedding import SimEmbedder
from workers.sim.faults import Faults, read_faults, simulated_error
from workers.sim.handover.legs import Legs
from workers.sim.handover.opening import OpenMeetings, meetings_of, open_legs
from workers.sim.operating import SimRoutes
from workers.sim.pictures import SimPictures
from workers.sim.ranks import Ranks
from workers.sim.scheduling.kv_outlet import KvOutlet
from workers.sim.scheduling.sequence import RequestLimits, new_sequence
from workers.sim.scores import SimScores
from workers.sim.settings import SimSettings, read_settings
from workers.sim.telling import Telling
from workers.sim.text import TextModel


@dataclass(frozen=True, kw_only=True)
class _Live:
    """A _Live is what exists of an engine from start to stop."""

    telling: Telling
    limits: RequestLimits
    text: TextModel
    eos_ids: frozenset[int]


class SimEngine:
    """A SimEngine is one simulated engine of `dp_size` ranks.

    Everything happens on the event loop that `start` ran on.

    Args:
        faults: given by tests whose crashes must not be real.
        unix_ms: wall clock that deadlines are held against.
        meetings: opens the ways by which engines that run legs of requests reach each other.
    """

    def __init__(
        self,
        settings: SimSettings,
        *,
        faults: Faults | None = None,
        unix_ms: Callable[[], int] | None = None,
        meetings: OpenMeetings = meetings_of,
    ) -> None:
        self._settings = settings
        self._faults = read_faults(settings.sim_fault, faults or Faults())
        self._unix_ms = unix_ms or (lambda: time.time_ns() // 1_000_000)
        self._ranks = Ranks()
        self._context: zmq.Context[Socket] | None = None
        self._outlets: list[KvOutlet] = []
        """The outlets publish KV events, one a rank, or there are none at all."""
        self._muted: dict[str, Generate] = {}
        self._meetings = meetings
        self._legs: Legs | None = None
        """None where requests are run from prompt to end."""
        self._embedder = (
            SimEmbedder(settings.sim_embedding_dimensions) if settings.is_embedding else None
        )
        self._scores = SimScores()
        self._pictures = SimPictures()
        self._live: _Live | None = None

    @classmethod
    def from_argv(
        cls, argv: Sequence[str], *, kv_events: bool = True, meetings: OpenMeetings = meetings_of
    ) -> "SimEngine":
        """Returns an engine from its part of a command line.

        Args:
            kv_events: publish them, for this user alone unless the arguments say where.
        Raises:
            StartError: an argument it does not have, or a value out of its range.
        """
        settings = read_settings(argv)
        if settings.is_embedding or settings.disaggregation_mode == "decode":
            settings = replace(settings, disable_radix_cache=True)
        wanted = kv_events and not settings.disable_radix_cache
        config = with_events(settings.kv_events_config) if wanted else None
        return cls(replace(settings, kv_events_config=config), meetings=meetings)

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts:
        """Reads the tokenizer, waits for --sim-startup-s, and is ready.

        Raises:
            StartError: no usable model directory, or the fault start-error.
        """
        settings = self._settings
        facts, words = await asyncio.to_thread(read_model, settings)
        await asyncio.sleep(settings.sim_startup_s)
        if self._faults.armed("start-error"):
            raise StartError("the simulated engine does not start (--sim-fault start-error)")
        text, limits = text_of(settings, facts, words), limits_of(settings, facts)
        loop = asyncio.get_running_loop()
        self._faults.on_hang = lambda: self._thaw_later(loop)
        if self._faults.hung:
            self._thaw_later(loop)
        self._faults.on_engine_death = partial(_tell_death, loop, on_death)
        add = self._scores.add_to if self._embedder is None else self._embedder.with_vectors
        telling = Telling(deliver, add, self._told_by_legs)
        self._live = _Live(
            telling=telling, limits=limits, text=text, eos_ids=frozenset(facts.card.eos_token_ids)
        )
        spec = settings.kv_events_config
        config = read_config(spec) if spec else KvEventsConfig()
        streams = stream_addresses(config, range(settings.dp_size))
        if streams:
            context = zmq.Context[Socket]()
            self._outlets = open_outlets(settings, config, self._faults, context, self._pictures)
            self._context = context
        self._ranks = ranks_of(
            settings,
            text,
            self._outlets,
            deliver=telling.now,
            faults=self._faults,
            unix_ms=self._unix_ms,
        )
        self._legs = open_legs(
            settings, self._meetings, self._faults, self._ranks, self._run, self.abort, telling
        )
        return msgspec.structs.replace(
            facts,
            kv_streams=streams,
            bootstrap=self._legs.server if self._legs else None,
            images=self._pictures if facts.card.media is not None else None,
            routes=SimRoutes(text, self._ranks, self._outlets, self._end_all),
        )

    def submit(self, request: Work) -> None:
        """Takes a request and returns at once; a refusal is delivered in a later loop turn."""
        refused = refusal_of(request, embeds=self._embedder is not None)
        if refused is not None:
            self._tell(Delta(request.request_id, 0, b"", refused))
            return
        if isinstance(request, Embed):
            assert self._embedder is not None
            request = self._embedder.as_generation(request)
        assert isinstance(request, Generate), "pictures are encoded by another engine"
        if request.request_id.startswith(CANARY_PREFIX) and len(self._ranks):
            self._ranks.runners[self._ranks.of(request) or 0].answer(request.request_id)
            return
        if self._legs is None or not self._legs.take(request):
            self._run(request)

    def _run(self, request: Generate) -> None:
        self._scores.note(request)
        failure = self._try_submit(request)
        if failure is not None:
            self._tell(Delta(request.request_id, 0, b"", failure))

    def abort(self, request_id: str) -> None:
        """Stops a request at any stage; unknown and finished ids are ignored."""
        if any(runner.forget(request_id) for runner in self._ranks.runners) or (
            self._legs is not None and self._legs.aborted(request_id)
        ):
            self._tell(Delta(request_id, 0, b"", Finished("abort", 0, 0)))
            return
        muted = self._muted.pop(request_id, None)
        if muted is not None:
            self._tell(
                Delta(request_id, 0, b"", Finished("abort", count_tokens(muted.token_ids), 0))
            )
        for delta in self._ranks.abort(request_id):
            self._tell(delta)

    def loads(self) -> list[RankLoad]:
        """Returns the load of each rank, by dp_rank."""
        return [scheduler.load() for scheduler in self._ranks.schedulers]

    def flush_cache(self) -> bool:
        """Forgets what idle ranks have cached; False if one was not idle."""
        return self._ranks.flush_cache(self._outlets)

    def _end_all(self, *, lost: bool) -> None:
        """Ends whatever runs, as lost or as aborted."""
        failure = Failed("worker_lost", "The worker gave the request back.") if lost else None
        for delta in self._ranks.stop(failure):
            self._tell(delta)
        for request_id in list(self._muted):
            self.abort(request_id)

    def fault(self, spec: str) -> None:
        """Arms a fault now: "KIND", "KIND=VALUE" or "clear" (workers/sim/faults.py).

        Raises:
            ValueError: no such fault, in one line.
        """
        self._faults.arm(spec)
        self._ranks.wake()

    async def stop(self) -> None:
        """Ends the engine at once: what runs fails as worker_lost, to be run elsewhere."""
        live, self._live = self._live, None
        if live is None:
            return
        failure = Failed("worker_lost", "The worker is shutting down.")
        deltas = self._ranks.stop(failure)
        legs, self._legs = self._legs, None
        kept = legs.close() if legs is not None else []
        deltas += [Delta(request_id, 0, b"", failure) for request_id in (*self._muted, *kept)]
        self._muted.clear()
        for outlet in self._outlets:
            outlet.close()
        if self._context is not None:
            self._context.term()
        live.telling.close(deltas)
        if legs is not None:
            await asyncio.to_thread(legs.meetings.close)

    async def kill(self) -> None:
        """Ends the engine as `stop` does: there is no process to kill."""
        await self.stop()

    def _thaw_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._faults.hang_s is not None:
            loop.call_later(self._faults.hang_s, self._thaw)

    def _thaw(self) -> None:
        self._faults.hung = False
        self._ranks.wake()

    def _try_submit(self, request: Generate) -> Failed | None:
        live = self._live
        if live is None:
            return Failed("worker_lost", "The engine is not running.")
        failure = self._faults.on_request() or self._requested_fault(request)
        if failure is not None or request.request_id in self._muted:
            return failure
        rank = self._ranks.of(request)
        if rank is None:
            return Failed(
                "invalid_value",
                f"there is no data-parallel rank {request.routed_dp_rank}",
                "routed_dp_rank",
            )
        if self._ranks.holds(request.request_id):
            return Failed("invalid_value", "a request with this id is running", "request_id")
        sequence = new_sequence(
            request,
            live.limits,
            live.text,
            live.eos_ids,
            cached_prompt=self._pictures.cached_prompt(request),
        )
        if isinstance(sequence, Failed):
            return sequence
        sequence.awaits_cache = self._legs is not None and self._legs.expects(request.request_id)
        failure = self._ranks.schedulers[rank].submit(sequence)
        self._ranks.runners[rank].wake()
        return failure

    def _requested_fault(self, request: Generate) -> Failed | None:
        seed = request.sampling.seed
        if request.media and self._settings.sim_request_faults:
            self._faults.on_pictures(request.media)
        if seed is None or not self._settings.sim_request_faults:
            return None
        fault = self._faults.on_seed(seed)
        if fault == "error":
            return simulated_error()
        if fault == "mute":
            if len(self._muted) >= self._settings.max_queued_requests:
                return Failed("overloaded", "too many requests wait for nothing already")
            self._muted[request.request_id] = request
        return None

    def _tell(self, delta: Delta) -> None:
        if self._live is not None:
            self._live.telling.soon(delta)

    def _told_by_legs(self, deltas: Sequence[Delta]) -> Sequence[Delta]:
        return deltas if self._legs is None else self._legs.told(deltas)


def _tell_death(loop: asyncio.AbstractEventLoop, on_death: OnDeath) -> None:
    loop.call_soon(on_death, "the simulated engine died")
