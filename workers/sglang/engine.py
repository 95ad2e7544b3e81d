"""The real engine is SGLang in this process and its children, behind `workers.engine.Engine`.

SGLang is imported when an engine is made: that takes seconds, and on a CPU host the stand-ins of
`workers.sglang.cpu` must come first.
"""

import asyncio
import gc
import logging
import signal
import threading
from collections.abc import Awaitable, Sequence
from typing import Any, Self, TypeVar

from protocol.membership import RankLoad
from protocol.process.start_error import StartError
from protocol.requests import Work
from protocol.transport.curve import MeshKey
from workers.engine import Deliver, EngineFacts, FirstWork, FollowerFacts, OnDeath
from workers.process.deferred_signals import DeferredHandlers
from workers.process.failure_note import FailureNote, one_line
from workers.sglang import processes
from workers.sglang.arguments import parse_server_args
from workers.sglang.cpu import activate_if_cpu_host
from workers.sglang.cpu.spares import fork_spares, processes_here, spares_until_then
from workers.sglang.nodes import admit_nodes
from workers.sglang.processes import SglangProcesses
from workers.sglang.requests.prompt_limits import limits_of
from workers.sglang.requests.submissions import Submissions
from workers.sglang.seam.checks import BY_ENGINES, check_seam
from workers.sglang.text_diffusion import with_running
from workers.sglang.translation import rank_load
from workers.sglang.warm_up import FLUSH_S_MAX, WarmUp

log = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class SglangEngine:
    """A SglangEngine is SGLang as an Engine, to be used in the event loop of the main thread, as
    SGLang's signal handling asks.
    """

    def __init__(
        self,
        server_args: Any,
        *,
        first_work: FirstWork,
        tokenizes: bool = False,
        key: MeshKey | None = None,
    ) -> None:
        self._server_args = server_args
        self._first_work = first_work
        self._tokenizes = tokenizes
        self._key = key
        self._engine: Any = None
        self._manager: Any = None
        self._processes: SglangProcesses | None = None
        self._death: asyncio.Future[str] | None = None
        self._deferred = DeferredHandlers()
        self._note = FailureNote()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests: Submissions | None = None
        """Holds the requests; None before the start, and on a node that takes none."""
        self._grammars: Any = None
        """Tries grammars before the engine sees them (workers.sglang.grammars.guard)."""
        self._dp_size = 1

    @classmethod
    def from_argv(
        cls,
        argv: Sequence[str],
        *,
        first_work: FirstWork,
        kv_events: bool = True,
        tokenizes: bool = False,
        key: MeshKey | None = None,
    ) -> Self:
        """Imports SGLang and reads its arguments, all of those that the worker does not know
        itself.

        Args:
            first_work: what the engine answers before anybody counts on it.
            kv_events: have the engine publish them, where only this user reaches them unless the
            arguments say where.
            tokenizes: have frontends ask for the tokens of prompts.
            key: the mesh's, by which the nodes of an engine know each other (workers.sglang.nodes).
        Raises:
            StartError: an argument is wrong, or SGLang is not installed.
        """
        gc.disable()  # until launched: to look through what is imported takes a quarter of the time
        cpu = activate_if_cpu_host(argv)
        check_seam(BY_ENGINES)
        server_args = parse_server_args(argv, cpu=cpu, kv_events=kv_events)
        if cpu:
            fork_spares(processes_here(server_args))
        return cls(server_args, first_work=first_work, tokenizes=tokenizes, key=key)

    async def start(self, deliver: Deliver, on_death: OnDeath) -> EngineFacts | FollowerFacts:
        """Loads the model and starts the schedulers. The loop is blocked: nothing else is served.

        Raises:
            StartError: SGLang cannot start.
        """
        if threading.current_thread() is not threading.main_thread():
            raise StartError("SGLang must be started in the main thread")
        self._loop = asyncio.get_running_loop()
        try:
            admit_nodes(self._server_args, self._key)
            with self._deferred.capture(self._loop), spares_until_then():
                self._launch(deliver)
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
        """Answers some requests of our own, and leaves nothing of them in the cache."""
        requests, warm_up = self._requests, WarmUp(facts, self._first_work)
        assert requests is not None
        requests.deliver, deliver = warm_up.take, requests.deliver
        await warm_up.run(self.submit)
        await self._manager.flush_cache(timeout_s=FLUSH_S_MAX)
        requests.deliver = deliver

    def _launch(self, deliver: Deliver) -> None:
        from workers.sglang.grammars.guard import GrammarGuard, set_grammar_defaults  # noqa: PLC0415
        from workers.sglang.reading import Readings  # noqa: PLC0415
        from workers.sglang.seam.steps import StepEngine  # noqa: PLC0415

        processes.set_process_defaults(counts=self._server_args.enable_metrics)
        set_grammar_defaults()
        self._engine = StepEngine(server_args=self._server_args)
        self._manager = self._engine.tokenizer_manager
        if self._manager is not None:
            readings = Readings(self._manager, self._engine.template_manager)
            self._grammars = GrammarGuard(self._manager)
            requests = Submissions(self._manager, readings, self._grammars, deliver)
            self._manager.on_step, self._manager.on_busy = requests.on_step, requests.answer_canary
            self._requests = requests
            self._manager.on_failure = lambda: self._note_death(
                "SGLang's messages cannot be received any more"
            )
            self._manager.auto_create_handle_loop()

    async def _look_after(self) -> EngineFacts | FollowerFacts:
        """Watches the processes, reads what they turned out to be and has them work for the first
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
            self._tasks.add(self._loop.create_task(self._processes.end_with_schedulers()))
            return read_follower_facts(self._server_args)
        assert self._requests is not None
        facts = await read_facts(self._engine, self._requests, tokenizes=self._tokenizes)
        self._requests.limits = limits_of(self._manager, facts)
        self._dp_size = facts.capacity.dp_size
        if facts.generates:
            self._grammars.warm_up()
        else:
            self._grammars.close()
        await self._warm_up(facts)
        # nothing that was loaded will be garbage, and looking through it stops a process for 0.1 s
        await self._manager.freeze_gc()
        return facts

    async def _unless_dead(self, work: Awaitable[_Result]) -> _Result:
        """Returns what `work` returns, unless the engine dies meanwhile, which would leave it
        waiting for an answer.

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
        """Takes a request; what SGLang or kvmesh refuses ends with a Failed delta in a later turn
        of the loop.
        """
        assert self._requests is not None, "submit before start"
        self._requests.submit(request)

    def abort(self, request_id: str) -> None:
        """Stops a request at any stage; its end arrives as a delta."""
        if self._requests is not None:
            self._requests.abort(request_id)

    def loads(self) -> list[RankLoad]:
        """Returns the load of each rank as its scheduler last wrote it.

        Read from shared memory in some 20 µs, so no copy of it is kept.
        """
        if self._manager is None or self._requests is None:
            return []
        by_rank = {load.dp_rank: load for load in self._manager.load_snapshot_reader.read_all()}
        loads = [rank_load(rank, by_rank.get(rank)) for rank in range(self._dp_size)]
        return with_running(loads, self._requests.unfinished) if self._manager.diffuses else loads

    async def stop(self) -> None:
        """Ends the engine and its processes.

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
        assert self._requests is not None
        self._requests.stop()
        if self._processes is not None:
            await self._processes.ask_to_end(manager)
        self._cancel_tasks(manager)
        await self._shut_down()
        self._deferred.run((signal.SIGTERM, signal.SIGINT))

    async def kill(self) -> None:
        """Kills every process of the engine now.

        A dead engine's requests are dumped first, if SGLang was told to dump them.
        """
        manager, self._manager = self._manager, None
        if self._requests is not None:
            self._requests.drop()
        if manager is not None:
            self._cancel_tasks(manager)
            if self._death is not None and self._death.done():
                await self._dump_requests(manager)
        if self._processes is not None:
            self._processes.expect_exits()
        await processes.kill_children()

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
        if self._requests is not None:
            self._requests.cancel()
        self._grammars.close()
        manager.media.close()

    async def _abandon(self) -> None:
        """Kills what has started of an engine that cannot; there is nothing to stop any more."""
        if self._processes is not None:
            self._processes.expect_exits()
        self._manager = None
        await self._shut_down()

    async def _shut_down(self) -> None:
        """Runs SGLang's own clean-up, which kills what is left but spares this process."""
        engine, self._engine = self._engine, None
        if engine is None:  # it failed while it was made
            await processes.kill_children()
            return
        await asyncio.to_thread(engine.shutdown)
        await asyncio.to_thread(processes.reap_children)
