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
from workers.sim.assembly import limits_of, open_outlets, read_model, scheduler_of, text_of
from workers.sim.embedding import SimEmbedder
from workers.sim.faults import Faults, read_faults, simulated_error
from workers.sim.runner import RankRunner
from workers.sim.scheduling.kv_outlet import KvOutlet
from workers.sim.scheduling.scheduler import Scheduler
from workers.sim.scheduling.sequence import RequestLimits, new_sequence
from workers.sim.scores import SimScores
from workers.sim.settings import SimSettings, read_settings
from workers.sim.text import TextModel


@dataclass(frozen=True, kw_only=True)
class _Live:
    """A _Live is what exists of an engine from start to stop."""

    deliver: Deliver
    limits: RequestLimits
    text: TextModel
    eos_ids: frozenset[int]


class SimEngine:
    """A SimEngine is one simulated engine of `dp_size` ranks.

    Everything happens on the event loop that `start` ran on.

    Args:
        faults: given by tests whose crashes must not be real.
        unix_ms: wall clock that deadlines are held against.
    """

    def __init__(
        self,
        settings: SimSettings,
        *,
        faults: Faults | None = None,
        unix_ms: Callable[[], int] | None = None,
    ) -> None:
        self._settings = settings
        self._faults = read_faults(settings.sim_fault, faults or Faults())
        self._unix_ms = unix_ms or (lambda: time.time_ns() // 1_000_000)
        self._schedulers: list[Scheduler] = []
        self._runners: list[RankRunner] = []
        self._context: zmq.Context[Socket] | None = None
        self._outlets: list[KvOutlet] = []
        """The outlets publish KV events, one a rank, or there are none at all."""
        self._muted: dict[str, Generate] = {}
        self._untold: list[Delta] = []
        self._next_rank = 0
        self._embedder = (
            SimEmbedder(settings.sim_embedding_dimensions) if settings.is_embedding else None
        )
        self._scores = SimScores()
        self._live: _Live | None = None

    @classmethod
    def from_argv(cls, argv: Sequence[str], *, kv_events: bool = True) -> "SimEngine":
        """Returns an engine from its part of a command line.

        Args:
            kv_events: publish them, where only this user reaches them unless the arguments say
            where.
        Raises:
            StartError: an argument it does not have, or a value out of its range.
        """
        settings = read_settings(argv)
        if settings.is_embedding:
            settings = replace(settings, disable_radix_cache=True)
        wanted = kv_events and not settings.disable_radix_cache
        config = with_events(settings.kv_events_config) if wanted else None
        return cls(replace(settings, kv_events_config=config))

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts:
        """Reads the tokenizer, waits for --sim-startup-s, and is ready.

        Raises:
            StartError: no usable model directory, or the fault start-error.
        """
        settings = self._settings
        add = self._scores.add_to if self._embedder is None else self._embedder.with_vectors
        told = partial(_told, add, deliver)
        facts, words = await asyncio.to_thread(read_model, settings)
        await asyncio.sleep(settings.sim_startup_s)
        if self._faults.armed("start-error"):
            raise StartError("the simulated engine does not start (--sim-fault start-error)")
        text, limits = text_of(settings, facts, words), limits_of(settings, facts)
        loop = asyncio.get_running_loop()
        self._faults.on_hang = lambda: self._thaw_later(loop)
        if self._faults.hung:
            self._thaw_later(loop)
        self._faults.on_engine_death = lambda: _tell_death(loop, on_death)
        self._live = _Live(
            deliver=told, limits=limits, text=text, eos_ids=frozenset(facts.card.eos_token_ids)
        )
        spec = settings.kv_events_config
        config = read_config(spec) if spec else KvEventsConfig()
        streams = stream_addresses(config, range(settings.dp_size))
        if streams:
            context = zmq.Context[Socket]()
            self._outlets = open_outlets(settings, config, self._faults, context)
            self._context = context
        outlets = self._outlets or [None] * settings.dp_size
        self._schedulers = [
            scheduler_of(settings, rank, text, outlet) for rank, outlet in enumerate(outlets)
        ]
        self._runners = [
            RankRunner(
                scheduler,
                told,
                loop,
                self._faults,
                speedup=settings.sim_speedup,
                unix_ms=self._unix_ms,
                outlet=outlet,
            )
            for scheduler, outlet in zip(self._schedulers, outlets, strict=True)
        ]
        return msgspec.structs.replace(facts, kv_streams=streams)

    def submit(self, request: Work) -> None:
        """Takes a request and returns at once; a refusal is delivered in a later loop turn."""
        refused = refusal_of(request, embeds=self._embedder is not None)
        if refused is not None:
            self._tell(Delta(request.request_id, 0, b"", refused))
            return
        if isinstance(request, Embed):
            assert self._embedder is not None
            request = self._embedder.as_generation(request)
        if request.request_id.startswith(CANARY_PREFIX) and self._runners:
            self._runners[self._rank_of(request) or 0].answer(request.request_id)
            return
        self._scores.note(request)
        failure = self._try_submit(request)
        if failure is not None:
            self._tell(Delta(request.request_id, 0, b"", failure))

    def abort(self, request_id: str) -> None:
        """Stops a request at any stage; unknown and finished ids are ignored."""
        if any(runner.forget(request_id) for runner in self._runners):
            self._tell(Delta(request_id, 0, b"", Finished("abort", 0, 0)))
            return
        muted = self._muted.pop(request_id, None)
        if muted is not None:
            self._tell(
                Delta(request_id, 0, b"", Finished("abort", count_tokens(muted.token_ids), 0))
            )
        for scheduler, runner in zip(self._schedulers, self._runners, strict=True):
            if scheduler.holds(request_id):
                delta = scheduler.abort(request_id)
                if delta is not None:
                    self._tell(delta)
                else:
                    runner.wake()

    def loads(self) -> list[RankLoad]:
        """Returns the load of each rank, by dp_rank."""
        return [scheduler.load() for scheduler in self._schedulers]

    def flush_cache(self) -> bool:
        """Forgets what idle ranks have cached; False if one was not idle."""
        flushed = [scheduler.flush_cache() for scheduler in self._schedulers]
        for outlet in self._outlets:
            outlet.flush()
        return all(flushed)

    def fault(self, spec: str) -> None:
        """Arms a fault now: "KIND", "KIND=VALUE" or "clear" (workers/sim/faults.py).

        Raises:
            ValueError: no such fault, in one line.
        """
        self._faults.arm(spec)
        for runner in self._runners:
            runner.wake()

    async def stop(self) -> None:
        """Ends the engine at once: what runs fails as worker_lost, so that a frontend runs it
        elsewhere.
        """
        live, self._live = self._live, None
        if live is None:
            return
        failure = Failed("worker_lost", "The worker is shutting down.")
        deltas, self._untold = self._untold, []
        for scheduler, runner in zip(self._schedulers, self._runners, strict=True):
            deltas += runner.stop()
            deltas += scheduler.fail_all(failure)
        deltas += [Delta(request_id, 0, b"", failure) for request_id in self._muted]
        self._muted.clear()
        for outlet in self._outlets:
            outlet.close()
        if self._context is not None:
            self._context.term()
        if deltas:
            live.deliver(deltas)

    async def kill(self) -> None:
        """Ends the engine as `stop` does: there is no process to kill."""
        await self.stop()

    def _thaw_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._faults.hang_s is not None:
            loop.call_later(self._faults.hang_s, self._thaw)

    def _thaw(self) -> None:
        self._faults.hung = False
        for runner in self._runners:
            runner.wake()

    def _try_submit(self, request: Generate) -> Failed | None:
        live = self._live
        if live is None:
            return Failed("worker_lost", "The engine is not running.")
        failure = self._faults.on_request() or self._requested_fault(request)
        if failure is not None or request.request_id in self._muted:
            return failure
        rank = self._rank_of(request)
        if rank is None:
            return Failed(
                "invalid_value",
                f"there is no data-parallel rank {request.routed_dp_rank}",
                "routed_dp_rank",
            )
        if any(scheduler.holds(request.request_id) for scheduler in self._schedulers):
            return Failed("invalid_value", "a request with this id is running", "request_id")
        sequence = new_sequence(request, live.limits, live.text, live.eos_ids)
        if isinstance(sequence, Failed):
            return sequence
        failure = self._schedulers[rank].submit(sequence)
        self._runners[rank].wake()
        return failure

    def _requested_fault(self, request: Generate) -> Failed | None:
        seed = request.sampling.seed
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

    def _rank_of(self, request: Generate) -> int | None:
        if request.routed_dp_rank is not None:
            return (
                request.routed_dp_rank
                if 0 <= request.routed_dp_rank < len(self._schedulers)
                else None
            )
        rank = self._next_rank
        self._next_rank = (rank + 1) % len(self._schedulers)
        return rank

    def _tell(self, delta: Delta) -> None:
        """Delivers outside the caller's stack, with whatever else falls into the same loop turn."""
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._tell_all)
        self._untold.append(delta)

    def _tell_all(self) -> None:
        deltas, self._untold = self._untold, []
        if deltas and self._live is not None:
            self._live.deliver(deltas)


def _tell_death(loop: asyncio.AbstractEventLoop, on_death: OnDeath) -> None:
    loop.call_soon(on_death, "the simulated engine died")


def _told(
    add: Callable[[Sequence[Delta]], Sequence[Delta]], deliver: Deliver, deltas: Sequence[Delta]
) -> None:
    deliver(add(deltas))
