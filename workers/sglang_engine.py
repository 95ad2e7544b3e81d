"""The real engine: SGLang in this process and its children, behind `workers.engine.Engine`.

SGLang is imported when an engine is made, not when this module is: the import takes seconds, and on a CPU host the stand-ins
of `workers.sglang_cpu` must come first.
"""

import asyncio
import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import psutil

from protocol.errors import DeadlineExceeded, EngineFault, InvalidRequest, StartError, WorkerLost
from protocol.limits import MESSAGE_CHARS_MAX
from protocol.membership import RankLoad
from protocol.replies import Delta, Failed, Finished
from protocol.requests import Generate
from protocol.tokens import count_tokens
from workers.engine import Deliver, EngineFacts, FollowerFacts
from workers.sglang_arguments import one_line, parse_server_args
from workers.sglang_cpu import activate_if_cpu_host
from workers.sglang_requests import failure, input_ids, sampling_params

log = logging.getLogger(__name__)

_SCHEDULER_EXIT_S: Final = 5.0
"""How long schedulers may take to let go of their memory when asked to; they are killed after that. SGLang itself waits 15 s,
half of the grace period that Kubernetes gives the whole worker."""

_CHILD_REAPED_S: Final = 5.0
"""A killed process is gone at once, unless the kernel is still freeing its GPU memory."""


@dataclass(slots=True, eq=False)
class _Run:
    """One request between submit and its end. Bounded by the credits that the worker grants its frontends."""

    request: Generate
    output: Any
    task: asyncio.Task[None] | None = None
    expiry: asyncio.TimerHandle | None = None
    expired: bool = False


class SglangEngine:
    """SGLang as an Engine. To be used in the event loop of the main thread, as SGLang's signal handling asks.

    A scheduler that dies takes this process with it (see `sglang_steps.auto_create_handle_loop`).
    """

    def __init__(self, server_args: Any) -> None:
        self._server_args = server_args
        self._engine: Any = None
        self._manager: Any = None
        self._runs: dict[str, _Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Deliver = _undelivered
        self._vocab_size = 0
        self._dp_size = 1

    @classmethod
    def from_argv(cls, argv: Sequence[str], *, kv_events: bool = True) -> "SglangEngine":
        """Read SGLang's arguments, all of those that the worker does not know itself. Imports SGLang.

        Args:
            kv_events: have the engine publish them, on free ports of this host unless the arguments say where.

        Raises:
            StartError: an argument is wrong, or SGLang is not installed.
        """
        cpu = activate_if_cpu_host(argv)
        try:
            from workers.sglang_steps import check_seam  # noqa: PLC0415  # after the stand-ins
        except ImportError as error:
            raise StartError(f"SGLang cannot be imported: {one_line(error)}") from error
        check_seam()
        return cls(parse_server_args(argv, cpu=cpu, kv_events=kv_events))

    async def start(self, deliver: Deliver) -> EngineFacts | FollowerFacts:
        """Load the model and start the schedulers. Blocks the loop meanwhile: nothing else is served yet.

        Raises:
            StartError: SGLang cannot start.
        """
        from workers.sglang_facts import read_facts, read_follower_facts  # noqa: PLC0415
        from workers.sglang_steps import StepEngine  # noqa: PLC0415

        if threading.current_thread() is not threading.main_thread():
            raise StartError("SGLang must be started in the main thread")
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        try:
            # Otherwise Engine() never returns on a node that takes no requests.
            os.environ.setdefault("SGLANG_BLOCK_NONZERO_RANK_CHILDREN", "0")
            self._engine = StepEngine(server_args=self._server_args)
            self._manager = self._engine.tokenizer_manager
            if self._manager is None:
                self._tasks.add(self._loop.create_task(self._end_with_schedulers()))
                return read_follower_facts(self._server_args)
            self._manager.on_step = self._on_step
            self._manager.auto_create_handle_loop()
            facts = await read_facts(self._engine)
        except StartError:
            await self._abandon()
            raise
        except Exception as error:
            log.debug("SGLang could not start", exc_info=True)
            await self._abandon()
            raise StartError(f"SGLang could not start: {one_line(error)}") from error
        self._vocab_size = facts.card.vocab_size
        self._dp_size = facts.capacity.dp_size
        return facts

    def submit(self, request: Generate) -> None:
        """Take a request; what SGLang or kvmesh refuses ends with a Failed delta in a later turn of the loop."""
        assert self._loop is not None, "submit before start"
        refused = self._refusal(request)
        if refused is not None:
            self._loop.call_soon(self._deliver, [Delta(request_id=request.request_id, start=0, token_ids=b"", end=refused)])
            return
        run = _Run(request, self._manager.new_output(count_tokens(request.token_ids)))
        self._runs[request.request_id] = run
        run.task = self._loop.create_task(self._generate(run))
        self._tasks.add(run.task)
        run.task.add_done_callback(lambda task: self._on_task_done(run, task))
        run.expiry = self._loop.call_later(request.deadline_unix_ms / 1000 - time.time(), self._expire, run)

    def _refusal(self, request: Generate) -> Failed | None:
        if self._manager is None:
            return Failed(code=WorkerLost.code, message="the worker is stopping")
        if request.request_id in self._runs:
            # Not by SGLang: its refusal would come with the state of the first request already under the same id.
            return Failed(code=InvalidRequest.code, message=f"request id {request.request_id} is in use")
        if request.deadline_unix_ms <= time.time() * 1000:
            return Failed(code=DeadlineExceeded.code, message="the deadline had passed before the request reached the engine")
        return None

    async def _generate(self, run: _Run) -> None:
        """Validate, dispatch, and wait for the end. The output goes by `_on_step`; an exception means that there is none."""
        async for _ in self._manager.generate_request(self._sglang_input(run), None):
            pass

    def _sglang_input(self, run: _Run) -> Any:
        from workers.sglang_steps import SteppedInput  # noqa: PLC0415  # loaded since from_argv

        request, manager = run.request, self._manager
        obj = SteppedInput(
            rid=request.request_id,
            input_ids=input_ids(request.token_ids, self._vocab_size),
            sampling_params=sampling_params(request.sampling, self._vocab_size),
            stream=request.stream,
            routed_dp_rank=request.routed_dp_rank,
            # Without priority scheduling SGLang ignores a priority or, if so configured, refuses the request for it.
            priority=request.priority if manager.enable_priority_scheduling else None,
            lora_path=request.lora_name,
            cache_salt=request.cache_salt,
            external_trace_header={"traceparent": request.traceparent} if request.traceparent else None,
        )
        obj.output = run.output
        return obj

    def abort(self, request_id: str) -> None:
        """Stop a request at any stage; its end arrives as a delta."""
        run = self._runs.get(request_id)
        if run is None:
            return
        if run.output.dispatched:
            self._manager.abort_request(request_id)
        elif run.task is not None:
            # SGLang sends an abort of what it has not dispatched yet to a scheduler that does not know the id, and swallows
            # every later one. Cancelling removes the request's state instead, and nothing was sent.
            run.task.cancel()

    def _expire(self, run: _Run) -> None:
        """The deadline has come: a request without a token is dropped before its prefill. The frontend aborts the others."""
        if run.output.sent == 0:
            run.expired = True
            self.abort(run.request.request_id)

    def _on_step(self, deltas: Sequence[Delta]) -> None:
        # What comes after the end that stop() gave its requests is dropped.
        self._deliver([self._end(delta) if delta.end is not None else delta for delta in deltas if delta.request_id in self._runs])

    def _end(self, delta: Delta) -> Delta:
        run = self._runs.pop(delta.request_id)
        if run.expiry is not None:
            run.expiry.cancel()
        if run.expired and isinstance(delta.end, Finished) and delta.end.reason == "abort":
            return Delta(delta.request_id, delta.start, delta.token_ids, _deadline_failed())
        return delta

    def _on_task_done(self, run: _Run, task: asyncio.Task[None]) -> None:
        """End what did not end by its output: refused, failed, or cancelled before it was dispatched."""
        self._tasks.discard(task)
        request_id = run.request.request_id
        error = None if task.cancelled() else task.exception()
        if self._runs.get(request_id) is not run:
            if error is not None:
                log.error("request %s failed after its end", request_id, exc_info=error)
            return
        end = Finished("abort", count_tokens(run.request.token_ids), 0) if task.cancelled() else _failed(error)
        self._deliver([self._end(Delta(request_id=request_id, start=run.output.sent, token_ids=b"", end=end))])

    def loads(self) -> list[RankLoad]:
        """Load of each rank as its scheduler last wrote it: at once when prefilling or going idle, else every few steps.

        Read from shared memory in some 20 µs, so no copy of it is kept.
        """
        if self._manager is None:
            return []
        by_rank = {load.dp_rank: load for load in self._manager.load_snapshot_reader.read_all()}
        return [_rank_load(rank, by_rank.get(rank)) for rank in range(self._dp_size)]

    async def stop(self) -> None:
        """End the engine and its processes. Requests that still run fail as lost, so that a frontend may move them."""
        if self._manager is None:
            for task in self._tasks:
                task.cancel()
            if self._engine is not None:
                await self._kill_children()
            return
        from sglang.srt.managers.io_struct import ShutdownReq  # noqa: PLC0415

        manager, self._manager = self._manager, None
        self._fail_unfinished()
        watchdog = manager._subprocess_watchdog
        if watchdog is not None:
            watchdog.stop()  # it would take the schedulers' exit for a crash and kill this process
        manager._dispatch_to_scheduler(ShutdownReq())
        await self._schedulers_gone(_SCHEDULER_EXIT_S)
        for task in [*manager.asyncio_tasks, *self._tasks]:
            task.cancel()
        await self._kill_children()

    async def _end_with_schedulers(self) -> None:
        """A follower's schedulers end when the leader tells them to; then this worker has nothing left to do."""
        from sglang.srt.utils.cudacore_pyspy_dump_utils import collect_scheduler_processes  # noqa: PLC0415

        while collect_scheduler_processes():  # noqa: ASYNC110  # there is no event; SGLang polls too
            await asyncio.sleep(1.0)
        log.info("the engine's leader has stopped")
        os.kill(os.getpid(), signal.SIGTERM)

    def _fail_unfinished(self) -> None:
        lost = Failed(code=WorkerLost.code, message="the worker stopped before the request was finished")
        deltas = [Delta(request_id, run.output.sent, b"", lost) for request_id, run in self._runs.items()]
        if deltas:
            self._on_step(deltas)

    async def _schedulers_gone(self, timeout_s: float) -> None:
        from sglang.srt.utils.cudacore_pyspy_dump_utils import collect_scheduler_processes  # noqa: PLC0415

        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and collect_scheduler_processes():  # noqa: ASYNC110  # there is no event; SGLang polls too
            await asyncio.sleep(0.05)

    async def _abandon(self) -> None:
        """What has started of an engine that cannot is killed; there is nothing to stop any more."""
        self._manager = None
        await self._kill_children()

    async def _kill_children(self) -> None:
        """Kill and reap every child that is left. Engine.shutdown spares this process."""
        from sglang.srt.utils import kill_process_tree  # noqa: PLC0415

        engine, self._engine = self._engine, None
        if engine is not None:
            await asyncio.to_thread(engine.shutdown)
        else:
            await asyncio.to_thread(kill_process_tree, None)
        await asyncio.to_thread(_reap_children)


def _reap_children() -> None:
    """Wait for the killed children, which SGLang counts as gone once they are zombies."""
    multiprocessing.active_children()  # reaps what multiprocessing started, and tells it so
    for child in psutil.Process().children():
        try:
            child.wait(timeout=_CHILD_REAPED_S)
        except psutil.Error as error:
            log.warning("process %d of the engine is not gone: %s", child.pid, error)


def _undelivered(deltas: Sequence[Delta]) -> None:
    raise AssertionError(f"{len(deltas)} deltas before start")


def _deadline_failed() -> Failed:
    return Failed(code=DeadlineExceeded.code, message="the deadline passed before the first token")


def _failed(error: BaseException | None) -> Failed:
    """The failure that an exception of `generate_request` stands for."""
    if isinstance(error, InvalidRequest):
        return Failed(code=error.code, message=error.message[:MESSAGE_CHARS_MAX], param=error.param)
    if isinstance(error, ValueError | TypeError):  # SGLang's validation; an unknown or ill-typed parameter is a TypeError
        return Failed(code=InvalidRequest.code, message=str(error)[:MESSAGE_CHARS_MAX])
    status = getattr(error, "status_code", None)  # fastapi.HTTPException
    if isinstance(status, int):
        return failure(status, str(getattr(error, "detail", "")))
    log.error("SGLang failed on a request", exc_info=error)
    return Failed(code=EngineFault.code, message="the engine failed on this request")


def _rank_load(rank: int, load: Any) -> RankLoad:
    if load is None:  # the scheduler has written nothing yet
        return RankLoad(rank, 0, 0, 0)
    return RankLoad(rank, load.num_running_reqs, load.num_waiting_reqs, load.num_used_tokens, load.num_waiting_uncached_tokens)
