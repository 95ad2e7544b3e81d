"""A frontend's jobs over workers that answer as they are told to."""

import asyncio
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from frontend.fleet.worker import Worker
from frontend.inflight.diffusion import Diffusion
from frontend.inflight.jobs import Jobs
from frontend.inflight.recovery import Recovery
from frontend.mesh.outputs import Outputs
from frontend.observe.metrics import FrontendMetrics
from frontend.routing.route import RouteRequest
from protocol.diffusion import (
    AskJobs,
    Diffuse,
    Diffused,
    Job,
    JobsTold,
    Output,
    Progress,
    worker_tag,
)
from protocol.generation import Extras, Finished
from protocol.membership import Capacity
from protocol.replies import Delta, Failed, StepBatch
from tests.unit.mesh.dispatch_bench import Bench

JOB = "a" * 32
LATER = 1 << 52
CAPACITY = Capacity(
    dp_size=1,
    kv_tokens=1,
    page_size_tokens=1,
    requests_running_max=1,
    prefill_step_tokens=1,
    orders_by_priority=True,
)


class JobBench(Bench):
    """Workers keep the jobs that they are sent, in `held`, and tell them when asked.

    Attributes:
        refusing: maps a worker that refuses what it is sent to what it says then.
        mute: ids of those that answer no question.
        unix_s: the time of day.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[str, dict[str, Job]] = {}
        self.refusing: dict[str, Failed] = {}
        self.mute: set[str] = set()
        self.unix_s = 1_000.0
        self._ids = iter(range(10_000))
        self.outputs = Outputs(self.registry, self._note, self.new_id)
        metrics = FrontendMetrics()
        self.recovery = Recovery(
            self.dispatch,
            metrics.losses,
            moves_max=3,
            new_request_id=self.new_id,
            now=self.loop.time,
        )
        self.jobs = Jobs(
            self.outputs,
            metrics.jobs,
            is_connected=lambda worker_id: self.registry.namesake(worker_id) is not None,
            note_made=lambda _model, _made: None,
            unix_s=lambda: self.unix_s,
        )

    def new_id(self) -> str:
        return f"{next(self._ids):032x}"

    def maker(self, worker_id: str, *, queued_max: int = 64) -> Worker:
        """A worker that makes videos from now on."""
        self.held.setdefault(worker_id, {})
        capacity = replace(CAPACITY, requests_queued_max=queued_max)
        return self.join(worker_id, service="videos", credit=64, capacity=capacity)

    def diffusion(self, job_id: str = JOB, **fields: Any) -> Diffusion:
        request = Diffuse(
            job_id,
            "m",
            "a fox",
            LATER,
            format="mp4",
            seconds=4.0,
            job_id=job_id,
            job_begun_unix_s=900,
            **fields,
        )
        route = RouteRequest(b"", cacheable=False, cost_tokens=request.cost)
        return Diffusion(
            self.dispatch, self.entry, self.recovery, request, route, outputs=self.outputs
        )

    async def begun(self, job_id: str = JOB) -> Job:
        return await self.jobs.begin(self.diffusion(job_id))

    def sent_to(self, worker_id: str) -> Diffuse:
        """Returns the last request that a worker was sent."""
        return [sent for to, sent in self.sent if to == worker_id and isinstance(sent, Diffuse)][-1]

    def progress(self, worker: Worker, percent: int) -> None:
        request = self.sent_to(worker.worker_id)
        self._change(worker, request.job_id, status="in_progress", percent=percent)
        extras = Extras(progress=Progress(percent, step=percent, steps=100))
        self._step(worker, Delta(request.request_id, 0, b"", extras=extras))

    def complete(self, worker: Worker) -> None:
        request = self.sent_to(worker.worker_id)
        output = Output(worker_tag(worker.worker_id, 1) + "0" * 32, "mp4", 9, 64, 48, 32, 8.0)
        self._change(worker, request.job_id, status="completed", percent=100, outputs=[output])
        self._step(worker, Delta(request.request_id, 0, b"", Diffused([output])))

    def fail(self, worker: Worker, failed: Failed) -> None:
        request = self.sent_to(worker.worker_id)
        self._change(
            worker,
            request.job_id,
            status="failed",
            error_code=failed.code,
            error=failed.message,
            completed_unix_s=int(self.unix_s),
        )
        self._step(worker, Delta(request.request_id, 0, b"", failed))

    def lose(self, worker: Worker, cause: Any = "died") -> None:
        """Has a worker gone, with all that it knew."""
        self.held[worker.worker_id] = {}
        self.outputs.worker_left(worker)
        self.dispatch.fail_all(worker, cause)
        self.registry.leave(worker)

    def _change(self, worker: Worker, job_id: str, **fields: Any) -> None:
        held = self.held[worker.worker_id]
        held[job_id] = replace(held[job_id], **fields)

    def _step(self, worker: Worker, delta: Delta) -> None:
        self.dispatch.take_step(worker, StepBatch([delta]))

    def _note(self, worker: Worker, message: Any) -> bool:
        super()._note(worker, message)
        answer = self._answer_to(worker, message)
        if answer is not None:
            self.loop.call_soon(answer)
        return True

    def _answer_to(self, worker: Worker, message: Any) -> Callable[[], None] | None:
        held = self.held.get(worker.worker_id, {})
        if isinstance(message, Diffuse):
            refusal = self.refusing.get(worker.worker_id)
            if refusal is not None:
                return lambda: self._step(worker, Delta(message.request_id, 0, b"", refusal))
            held[message.job_id] = Job(
                message.job_id, "m", "queued", message.job_begun_unix_s, prompt=message.prompt
            )
        elif isinstance(message, AskJobs) and worker.worker_id not in self.mute:
            ids = [message.job_id] if message.job_id else list(held)
            told = [held[each] for each in ids if each in held]
            if message.forget and held.pop(message.job_id, None) is not None:
                self.loop.call_soon(self._stop, worker, message.job_id)
            return lambda: self.outputs.take(worker, JobsTold(message.query_id, told))
        return None

    def _stop(self, worker: Worker, job_id: str) -> None:
        for to, sent in self.sent:
            if to == worker.worker_id and isinstance(sent, Diffuse) and sent.job_id == job_id:
                self._step(worker, Delta(sent.request_id, 0, b"", Finished("abort", 0, 0)))


async def settled() -> None:
    """Lets everything that is due happen."""
    for _ in range(20):
        await asyncio.sleep(0)
