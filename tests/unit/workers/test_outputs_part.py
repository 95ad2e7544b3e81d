"""Frontends are answered out of what a worker made, within bounds, and jobs outlive them."""

import asyncio
from collections.abc import Callable, Sequence

from protocol.diffusion import AskJobs, Diffuse, FetchOutput, Job, JobsTold, OutputChunk
from protocol.generation import Finished
from protocol.replies import Delta
from protocol.requests import Work
from tests.unit.encoding.encoder_bench import named, on_virtual_time
from workers.mesh.intake import Intake
from workers.mesh.outputs_part import ANSWERS_MAX, ROOM_S_MAX, OutputsPart
from workers.observe.request_counts import RequestCounts


class _Frontend:
    def __init__(self) -> None:
        self.address = "tcp://127.0.0.1:1"
        self.heard: list[JobsTold | OutputChunk] = []
        self.room = True

    def send(self, message: JobsTold | OutputChunk) -> bool:
        if self.room:
            self.heard.append(message)
        return self.room


class _Source:
    """Answers in time, or not at all."""

    def __init__(self) -> None:
        self.may_answer = asyncio.Event()
        self.broken = False
        self.reads = 0
        self.owed = 2
        self.tag = ""

    def open(self, tag: str, on_change: Callable[[], None]) -> None:
        self.tag = tag

    async def read(self, fetch: FetchOutput) -> OutputChunk:
        self.reads += 1
        if self.broken:
            raise OSError("injected")
        await self.may_answer.wait()
        return OutputChunk(fetch.query_id, b"x")

    def tell(self, ask: AskJobs) -> JobsTold:
        return JobsTold(ask.query_id, [Job("video_1", "m", "queued", 1)])

    def hand_back(self) -> None:
        self.owed = 0


def _part() -> tuple[OutputsPart, _Source]:
    part, source = OutputsPart(), _Source()
    part.open(source, "a" * 16, lambda: None)
    return part, source


def _fetch(part: OutputsPart, frontend: _Frontend, number: int) -> None:
    part.fetch(frontend, FetchOutput(named(number), "0" * 48))


@on_virtual_time
async def test_pieces_and_jobs_are_told() -> None:
    part, source = _part()
    frontend = _Frontend()
    source.may_answer.set()
    _fetch(part, frontend, 1)
    part.tell(frontend, AskJobs(named(2)))
    await asyncio.sleep(1.0)
    told, chunk = frontend.heard
    assert isinstance(told, JobsTold)
    assert (told.query_id, [job.job_id for job in told.jobs]) == (named(2), ["video_1"])
    assert chunk == OutputChunk(named(1), b"x")
    assert (source.tag, part.owed) == ("a" * 16, 2)


@on_virtual_time
async def test_one_frontend_is_given_so_many_pieces_at_a_time() -> None:
    part, source = _part()
    greedy, other = _Frontend(), _Frontend()
    for number in range(ANSWERS_MAX + 10):
        _fetch(part, greedy, number)
    _fetch(part, other, 1)
    await asyncio.sleep(1.0)
    assert source.reads == ANSWERS_MAX + 1
    assert part.owed == 2 + ANSWERS_MAX + 1
    source.may_answer.set()
    await asyncio.sleep(1.0)
    assert (len(greedy.heard), len(other.heard), part.owed) == (ANSWERS_MAX, 1, 2)
    _fetch(part, greedy, ANSWERS_MAX)  # it asks again
    await asyncio.sleep(1.0)
    assert len(greedy.heard) == ANSWERS_MAX + 1


@on_virtual_time
async def test_what_cannot_be_read_costs_nobody_else() -> None:
    part, source = _part()
    frontend = _Frontend()
    source.may_answer.set()
    source.broken = True
    _fetch(part, frontend, 1)
    await asyncio.sleep(1.0)
    source.broken = False
    _fetch(part, frontend, 2)
    await asyncio.sleep(1.0)
    assert [each.query_id for each in frontend.heard] == [named(2)]
    assert part.owed == 2


@on_virtual_time
async def test_a_frontend_without_room_is_waited_for_a_while() -> None:
    part, source = _part()
    frontend = _Frontend()
    source.may_answer.set()
    frontend.room = False
    _fetch(part, frontend, 1)
    part.tell(frontend, AskJobs(named(2)))
    await asyncio.sleep(ROOM_S_MAX - 1.0)
    assert part.owed == 2 + 2
    frontend.room = True
    await asyncio.sleep(0.5)
    assert {each.query_id for each in frontend.heard} == {named(1), named(2)}
    frontend.room = False
    _fetch(part, frontend, 3)
    await asyncio.sleep(ROOM_S_MAX + 1.0)
    frontend.room = True
    await asyncio.sleep(1.0)
    assert len(frontend.heard) == 2
    assert part.owed == 2


@on_virtual_time
async def test_a_worker_that_makes_nothing_has_nothing() -> None:
    part, frontend = OutputsPart(), _Frontend()
    _fetch(part, frontend, 1)
    part.tell(frontend, AskJobs(named(2)))
    part.hand_back()
    assert frontend.heard == [OutputChunk(named(1)), JobsTold(named(2))]
    assert part.owed == 0


class _Requester:
    def __init__(self) -> None:
        self.requests = 0
        self.deltas: list[Delta] = []

    def send_deltas(self, deltas: Sequence[Delta]) -> None:
        self.deltas += deltas


class _Runs:
    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.aborted: list[str] = []

    def submit(self, request: Work) -> None:
        self.submitted.append(request.request_id)

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)


def _intake() -> tuple[Intake, _Runs]:
    runs = _Runs()
    intake = Intake(
        runs,
        unix_ms=lambda: 0.0,
        on_idle=lambda: None,
        offers=lambda _: False,
        counts=RequestCounts(lambda: 0.0),
    )
    intake.credit_requests = 10
    return intake, runs


def _order(number: int, job_id: str = "") -> Diffuse:
    return Diffuse(named(number), "m", "p", 1, job_id=job_id)


def test_jobs_go_on_when_their_frontend_is_gone() -> None:
    intake, runs = _intake()
    gone, other = _Requester(), _Requester()
    intake.take(gone, _order(1))
    intake.take(gone, _order(2, "video_2"))
    intake.take(gone, _order(3, "video_3"))
    intake.abort(gone, named(3))
    intake.abort_all_of(gone)
    assert runs.aborted == [named(3), named(1)]
    assert (len(intake), gone.requests) == (0, 0)
    end = [Delta(named(2), 0, b"", Finished("stop", 0, 0))]
    intake.deliver(end)
    assert gone.deltas == []
    intake.take(other, _order(2, "video_2"))  # asked for again, over another connection
    intake.deliver(end)
    assert other.deltas == end
    assert (len(intake), other.requests) == (0, 0)


def test_a_job_is_aborted_by_whoever_asks_for_it() -> None:
    intake, runs = _intake()
    frontend = _Requester()
    intake.take(frontend, _order(1, "video_1"))
    intake.abort(frontend, named(1))
    assert runs.aborted == [named(1)]
