"""The real engine: SGLang in this process and its children, behind `workers.engine.Engine`.

SGLang is imported when an engine is made: that takes seconds, and on a CPU host the stand-ins of
`workers.sglang.cpu` must come first.
"""

import asyncio
import gc
import logging
import math
import os
import signal
import threading
import time
from collections.abc import Awaitable, Sequence
from typing import Any, Final, Self, TypeVar

from protocol.embedding import Embed
from protocol.errors import WorkerLost
from protocol.generation import Finished, Generate
from protocol.membership import RankLoad
from protocol.process.start_error import StartError
from protocol.replies import Delta, Failed
from protocol.requests import Work
from protocol.tokens import count_tokens
from protocol.transport.curve import MeshKey
from workers.engine import BROKEN, CANARY_PREFIX, Deliver, EngineFacts, FollowerFacts, OnDeath
from workers.process.deferred_signals import DeferredHandlers
from workers.process.failure_note import FailureNote, one_line
from workers.sglang.arguments import parse_server_args
from workers.sglang.cpu import activate_if_cpu_host
from workers.sglang.nodes import admit_nodes
from workers.sglang.processes import SglangProcesses, kill_children, reap_children
from workers.sglang.requests.run import Run, deadline_failed, failed, in_the_clients_words, refusal
from workers.sglang.translation import embedded, rank_load
from workers.sglang.warm_up import FLUSH_S_MAX, WarmUp

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")

_SCHEDULER_EXIT_S: Final = 5.0
"""For schedulers to let go of their memory before they are killed.

SGLang itself waits 15 s, half of what Kubernetes gives the worker.
"""

_WAKE_UP_S: Final = 0.05
"""An idle scheduler reads that it should end, and goes to sleep for a second before it looks.

Another message, which must not arrive together with the first, wakes it.
"""


class SglangEngine:
    """SGLang as an Engine.

    To be used in the event loop of the main thread, as SGLang's signal handling asks.
    """

    def __init__(
        self, server_args: Any, *, tokenizes: bool = False, key: MeshKey | None = None
    ) -> None:
        self._server_args = server_args
        self._tokenizes = tokenizes
        self._key = key
        self._engine: Any = None
        self._manager: Any = None
        self._processes: SglangProcesses | None = None
        self._death: asyncio.Future[str] | None = None
        self._deferred = DeferredHandlers()
        self._note = FailureNote()
        self._runs: dict[str, Run] = {}
        self._canaries: dict[str, Run] = {}
        """Those of `_runs` that are canaries, in the order of submission.

        Bounded by the ranks: each has at most one.
        """
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._deliver: Deliver = _undelivered
        self._readings: Any = None
        """What plans the readings of requests (workers.sglang.reading)."""
        self._grammars: Any = None
        """What tries grammars first (workers.sglang.grammars.guard)."""
        self._vocab_size = 0
        self._dp_size = 1

    @classmethod
    def from_argv(
        cls,
        argv: Sequence[str],
        *,
        kv_events: bool = True,
        tokenizes: bool = False,
        key: MeshKey | None = None,
    ) -> Self:
        """Read SGLang's arguments, all of those that the worker does not know itself.

        Imports SGLang.

        Args:
            kv_events: have the engine publish them, where only this user reaches them unless the
            arguments say where.
            tokenizes: have frontends ask for the tokens of prompts.
            key: the mesh's, by which the nodes of an engine know each other (workers.sglang.nodes).
        Raises:
            StartError: an argument is wrong, or SGLang is not installed.
        """
        # Until the engine is launched: what is imported is no garbage, and to look through it takes
        # a quarter of the time.
        gc.disable()
        cpu = activate_if_cpu_host(argv)
        try:
            from workers.sglang.seam.steps import check_seam  # noqa: PLC0415  # after the stand-ins
        except ImportError as error:
            raise StartError(f"SGLang cannot be imported: {one_line(error)}") from error
        check_seam()
        return cls(
            parse_server_args(argv, cpu=cpu, kv_events=kv_events), tokenizes=tokenizes, key=key
        )

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts | FollowerFacts:
        """Load the model and start the schedulers.

        Blocks the loop meanwhile: nothing else is served yet.

        Raises:
            StartError: SGLang cannot start.
        """
        if threading.current_thread() is not threading.main_thread():
            raise StartError("SGLang must be started in the main thread")
        self._loop = asyncio.get_running_loop()
        self._deliver = deliver
        try:
            admit_nodes(self._server_args, self._key)
            with self._deferred.capture(self._loop):
                self._launch()
            gc.enable()
            facts = await self._unless_dead(self._look_after())
        except StartError:
            await self._abandon()
            raise
        except Exception as error:
            log.debug("SGLang could not start", exc_info=True)
            await self._abandon()
            raise StartError(
                f"SGLang cannot start with {self._server_args.model_path}: "
                f"{self._note.read() or one_line(error)}"
            ) from error
        assert self._death is not None
        self._death.add_done_callback(
            lambda death: None if death.cancelled() else on_death(death.result())
        )
        return facts

    async def _warm_up(self, facts: EngineFacts) -> None:
        """Answer some requests of our own, and leave nothing of them in the cache."""
        warm_up = WarmUp(facts)
        deliver, self._deliver = self._deliver, warm_up.take
        await warm_up.run(self.submit)
        await self._manager.flush_cache(timeout_s=FLUSH_S_MAX)
        self._deliver = deliver

    def _launch(self) -> None:
        from workers.sglang.grammars.guard import GrammarGuard, set_grammar_defaults  # noqa: PLC0415
        from workers.sglang.reading import Readings  # noqa: PLC0415
        from workers.sglang.seam.steps import StepEngine  # noqa: PLC0415

        # Otherwise Engine() never returns on a node that takes no requests.
        os.environ.setdefault("SGLANG_BLOCK_NONZERO_RANK_CHILDREN", "0")
        # By default SGLang spends 65 s on these before a dead engine's process ends; somebody waits
        # to restart it.
        for diagnosis in ("SGLANG_PYSPY_DUMP_BEFORE_CRASH", "SGLANG_CUDA_COREDUMP_BEFORE_CRASH"):
            os.environ.setdefault(diagnosis, "0")
        set_grammar_defaults()
        self._engine = StepEngine(server_args=self._server_args)
        self._manager = self._engine.tokenizer_manager
        if self._manager is not None:
            self._manager.on_step = self._on_step
            self._manager.on_busy = self._answer_canary
            self._manager.on_failure = lambda: self._note_death(
                "SGLang's messages cannot be received any more"
            )
            self._manager.auto_create_handle_loop()
            self._readings = Readings(self._manager, self._engine.template_manager)
            self._grammars = GrammarGuard(self._manager)

    async def _look_after(self) -> EngineFacts | FollowerFacts:
        """Watch the processes, read what they turned out to be and have them work for the first
        time.
        """
        from workers.sglang.facts import read_facts, read_follower_facts  # noqa: PLC0415

        assert self._loop is not None
        follower = self._manager is None
        self._processes = SglangProcesses(
            self._engine, self._note, exit_is_death=not follower, on_death=self._note_death
        )
        await self._processes.watch()
        if follower:
            self._tasks.add(self._loop.create_task(self._end_with_schedulers()))
            return read_follower_facts(self._server_args)
        facts = await read_facts(self._engine, tokenizes=self._tokenizes)
        self._vocab_size, self._dp_size = facts.card.vocab_size, facts.capacity.dp_size
        if facts.service == "text":
            self._grammars.warm_up()
        await self._warm_up(facts)
        # nothing that was loaded will be garbage, and looking through it stops a process for 0.1 s
        await self._manager.freeze_gc()
        return facts

    async def _unless_dead(self, work: Awaitable[_Result]) -> _Result:
        """What `work` returns, unless the engine dies meanwhile, which would leave it waiting for
        an answer.

        Raises:
            StartError: the engine died.
        """
        assert self._loop is not None
        self._death = self._loop.create_future()
        working = asyncio.ensure_future(work)
        await asyncio.wait({working, self._death}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            working.cancel()
            raise StartError(self._death.result())
        return working.result()

    def _note_death(self, reason: str) -> None:
        if self._death is not None and not self._death.done():
            self._death.set_result(reason)

    def submit(self, request: Work) -> None:
        """Take a request; what SGLang or kvmesh refuses ends with a Failed delta in a later turn of
        the loop.
        """
        assert self._loop is not None, "submit before start"
        refused = refusal(
            request, stopping=self._manager is None, in_use=request.request_id in self._runs
        )
        if refused is not None:
            self._loop.call_soon(
                self._deliver,
                [Delta(request_id=request.request_id, start=0, token_ids=b"", end=refused)],
            )
            return
        prompt_tokens = count_tokens(request.token_ids)
        run = Run(
            request,
            self._manager.new_output(prompt_tokens) if isinstance(request, Generate) else None,
        )
        self._runs[request.request_id] = run
        if request.request_id.startswith(CANARY_PREFIX):
            self._canaries[request.request_id] = run
        run.task = self._loop.create_task(
            self._generate(run) if isinstance(request, Generate) else self._embed(run)
        )
        self._tasks.add(run.task)
        run.task.add_done_callback(lambda task: self._on_task_done(run, task))
        run.expiry = self._loop.call_later(
            request.deadline_unix_ms / 1000 - time.time(), self._expire, run
        )

    async def _generate(self, run: Run) -> None:
        """Validate, dispatch, and wait for the end.

        The output goes by `_on_step`; an exception means that there is none.
        """
        from workers.sglang.requests.inputs import generate_input, grammar_of  # noqa: PLC0415

        request, plan = run.request, None
        assert isinstance(request, Generate)
        if request.reading is not None:
            plan = await self._readings.ready(request)
            run.reader = plan.reader
        log_metrics = request.request_id not in self._canaries
        grammar = grammar_of(request, plan)
        if grammar is not None:
            await self._grammars.check(grammar)
        obj = generate_input(
            request,
            grammar,
            run.output,
            plan,
            self._manager,
            vocab_size=self._vocab_size,
            log_metrics=log_metrics,
        )
        async for _ in self._manager.generate_request(obj, None):
            pass

    async def _embed(self, run: Run) -> None:
        from workers.sglang.requests.inputs import embedding_input  # noqa: PLC0415

        request = run.request
        assert isinstance(request, Embed)
        log_metrics = request.request_id not in self._canaries
        obj = embedding_input(
            request, self._manager, vocab_size=self._vocab_size, log_metrics=log_metrics
        )
        async for out in self._manager.generate_request(obj, None):
            self._on_step([Delta(request.request_id, 0, b"", embedded(out))])

    def abort(self, request_id: str) -> None:
        """Stop a request at any stage; its end arrives as a delta."""
        run = self._runs.get(request_id)
        if run is None:
            return
        if request_id in self._canaries:
            self._end_canary(request_id)
        elif run.dispatched:
            self._manager.abort_request(request_id)
        elif run.task is not None:
            # SGLang sends an abort of what it has not dispatched yet to a scheduler that does not
            # know the id, and swallows every later one. Cancelling removes the request's state
            # instead, and nothing was sent.
            run.task.cancel()

    def _answer_canary(self) -> None:
        """A busy scheduler has answered a canary, without saying which: taken for the one sent
        last.

        Imprecise where an earlier canary has had no answer in time, and its rank gives it now: the
        answer is then credited to another rank's. That rank, if it does not answer either, is found
        out with its next canary.
        """
        if self._canaries:
            self._end_canary(next(reversed(self._canaries)))

    def _end_canary(self, request_id: str) -> None:
        """Forget a canary that SGLang will never end: a busy scheduler drops it, and does not echo
        its abort.
        """
        run = self._canaries[request_id]
        # first, or its cancellation sends an abort and keeps the state
        self._manager.rid_to_state.pop(request_id, None)
        if run.task is not None:
            run.task.cancel()
        self._deliver(
            [
                self._end(
                    Delta(request_id, run.tokens_sent, b"", Finished("abort", 0, run.tokens_sent))
                )
            ]
        )

    def _expire(self, run: Run) -> None:
        """The deadline has come: a request without a token is dropped before its prefill.

        The frontend aborts the others.
        """
        if run.tokens_sent == 0:
            run.expired = True
            self.abort(run.request.request_id)

    def _on_step(self, deltas: Sequence[Delta]) -> None:
        # What comes after the end that stop() gave its requests is dropped.
        runs = self._runs
        self._deliver(
            [
                self._whole_or_broken(run, delta)
                for delta in deltas
                if (run := runs.get(delta.request_id)) is not None
            ]
        )

    def _whole_or_broken(self, run: Run, delta: Delta) -> Delta:
        """The delta as it goes out.

        What fails here, at whatever place, is the end of this request and of no other.
        """
        try:
            return self._passed_on(run, delta)
        except Exception:
            log.exception("request %s ends, since what it put out cannot be told", delta.request_id)
            self._forget(delta.request_id)
            if delta.end is None:
                self._manager.abort_request(delta.request_id)
            return Delta(delta.request_id, delta.start, b"", BROKEN)

    def _passed_on(self, run: Run, delta: Delta) -> Delta:
        engine_goes_on = delta.end is None
        if run.reader is not None:
            delta = run.read(delta)
            if engine_goes_on and delta.end is not None:
                self._manager.abort_request(delta.request_id)
        return self._end(delta) if delta.end is not None else delta

    def _end(self, delta: Delta) -> Delta:
        run = self._runs[delta.request_id]
        if run.expired and isinstance(delta.end, Finished) and delta.end.reason == "abort":
            delta = Delta(delta.request_id, delta.start, delta.token_ids, deadline_failed())
        # without the token that SGLang makes of whatever it refuses
        elif isinstance(delta.end, Failed):
            delta = Delta(
                delta.request_id, delta.start, b"", in_the_clients_words(run.request, delta.end)
            )
        self._forget(delta.request_id)
        return delta

    def _forget(self, request_id: str) -> None:
        run = self._runs.pop(request_id)
        self._canaries.pop(request_id, None)
        if run.expiry is not None:
            run.expiry.cancel()

    def _on_task_done(self, run: Run, task: asyncio.Task[None]) -> None:
        """End what did not end by its output: refused, failed, or cancelled before it was
        dispatched.
        """
        self._tasks.discard(task)
        request_id = run.request.request_id
        error = None if task.cancelled() else task.exception()
        if self._runs.get(request_id) is not run:
            if error is not None:
                log.error("request %s failed after its end", request_id, exc_info=error)
            return
        end = (
            Finished("abort", count_tokens(run.request.token_ids), 0)
            if task.cancelled()
            else failed(error)
        )
        self._on_step([Delta(request_id, run.tokens_sent, b"", end)])

    def loads(self) -> list[RankLoad]:
        """Load of each rank as its scheduler last wrote it.

        Read from shared memory in some 20 µs, so no copy of it is kept.
        """
        if self._manager is None:
            return []
        by_rank = {load.dp_rank: load for load in self._manager.load_snapshot_reader.read_all()}
        return [rank_load(rank, by_rank.get(rank)) for rank in range(self._dp_size)]

    async def stop(self) -> None:
        """End the engine and its processes.

        Requests that still run fail as lost, so that a frontend may move them.
        """
        if self._processes is not None:
            self._processes.expect_exits()
        manager, self._manager = self._manager, None
        if manager is None:
            for task in self._tasks:
                task.cancel()
            if self._engine is not None:
                await self._shut_down()
            return
        from sglang.srt.managers.io_struct import ShutdownReq  # noqa: PLC0415

        self._fail_unfinished()
        manager._dispatch_to_scheduler(ShutdownReq())
        await asyncio.sleep(_WAKE_UP_S)
        manager._dispatch_to_scheduler(ShutdownReq())
        if self._processes is not None:
            await self._processes.schedulers_gone(_SCHEDULER_EXIT_S)
        self._cancel_tasks(manager)
        await self._shut_down()
        self._deferred.run((signal.SIGTERM, signal.SIGINT))

    async def kill(self) -> None:
        """Kill every process now.

        A dead engine's requests are dumped first, if SGLang was told to dump them.
        """
        manager, self._manager = self._manager, None
        self._runs.clear()
        if manager is not None:
            self._cancel_tasks(manager)
            if self._death is not None and self._death.done():
                await self._dump_requests(manager)
        if self._processes is not None:
            self._processes.expect_exits()
        await kill_children()

    async def _dump_requests(self, manager: Any) -> None:
        try:
            await asyncio.to_thread(manager.dump_requests_before_crash)
        except Exception:
            log.exception("SGLang could not dump its requests")

    def _cancel_tasks(self, manager: Any) -> None:
        # Among them SGLang's sigterm_watchdog, before the handler that it waits for runs: it would
        # end this process.
        for task in [*manager.asyncio_tasks, *self._tasks]:
            task.cancel()
        self._grammars.close()

    async def _end_with_schedulers(self) -> None:
        """A follower's schedulers end when the leader tells them to; then this worker has nothing
        left to do.
        """
        assert self._processes is not None
        await self._processes.schedulers_gone(math.inf, poll_s=1.0)
        log.info("the engine's leader has stopped")
        os.kill(os.getpid(), signal.SIGTERM)

    def _fail_unfinished(self) -> None:
        lost = Failed(
            code=WorkerLost.code, message="the worker stopped before the request was finished"
        )
        deltas = [
            Delta(request_id, run.tokens_sent, b"", lost) for request_id, run in self._runs.items()
        ]
        if deltas:
            self._on_step(deltas)

    async def _abandon(self) -> None:
        """What has started of an engine that cannot is killed; there is nothing to stop any
        more.
        """
        if self._processes is not None:
            self._processes.expect_exits()
        self._manager = None
        await self._shut_down()

    async def _shut_down(self) -> None:
        """SGLang's own clean-up, which kills what is left but spares this process."""
        engine, self._engine = self._engine, None
        if engine is None:  # it failed while it was made
            await kill_children()
            return
        await asyncio.to_thread(engine.shutdown)
        await asyncio.to_thread(reap_children)


def _undelivered(deltas: Sequence[Delta]) -> None:
    raise AssertionError(f"{len(deltas)} deltas before start")
