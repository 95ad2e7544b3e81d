"""Whatever raises on account of one request, inside a loop that serves many, ends that one alone.

Faults at each call in turn.
"""

import asyncio
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from protocol.codec import decode_to_frontend, encode
from protocol.generation import Content, Extras, Finished, Generate, Sampling
from protocol.membership import Capacity, Heartbeat, Hello, ModelCard
from protocol.numbering import Numbering
from protocol.replies import Delta, Failed, StepBatch
from protocol.requests import Abort, FrontendHeartbeat
from protocol.tokens import pack_tokens
from workers.engine import BROKEN
from workers.health.watched_engine import HealthSettings, WatchedEngine
from workers.kinds.text import TEXT
from workers.mesh.frontend_link import FrontendLink
from workers.mesh.intake import Intake
from workers.observe.request_counts import RequestCounts
from workers.sglang.requests import submissions
from workers.sglang.requests.request_in_flight import InFlight
from workers.sglang.requests.submissions import Submissions

WELL, SICK = "1" * 32, "2" * 32
TOKEN = pack_tokens([7])


def request(request_id: str, **fields: Any) -> Generate:
    return Generate(request_id, "m", TOKEN, Sampling(4), 1 << 52, **fields)


def boom(*_: Any, **__: Any) -> Any:
    raise RuntimeError("injected")


class Reader:
    """Shows tokens as text; `fails` names what raises."""

    matched_stop = None

    def __init__(self, fails: str = "") -> None:
        self._fails = fails

    @property
    def stopped_after_tokens(self) -> int | None:
        return boom() if self._fails == "stopped" else None

    def feed(self, token_ids: Sequence[int]) -> list[Any]:
        return boom() if self._fails == "feed" else [Content("x" * len(token_ids))]

    def end(self, token_ids: Sequence[int], _: Finished) -> list[Any]:
        return boom() if self._fails == "end" else [Content("x" * len(token_ids))]


class Bench:
    """The requests of an engine, two of them, and no SGLang."""

    def __init__(self, fails: str = "") -> None:
        self.delivered: list[list[Delta]] = []
        self.aborted: list[str] = []
        manager = SimpleNamespace(abort_request=self.aborted.append)
        self.requests = Submissions(
            manager, None, None, lambda told: self.delivered.append([*told])
        )
        for request_id in (WELL, SICK):
            output = SimpleNamespace(
                sent=0, dispatched=True, finished_now=lambda reason: Finished(reason, 1, 1)
            )
            reader = Reader(fails if request_id == SICK else "")
            self.requests._in_flight[request_id] = InFlight(
                request(request_id), output, reader=reader
            )

    def step(self, end: Any = None) -> dict[str, Delta]:
        self.requests.on_step([Delta(SICK, 0, TOKEN, end), Delta(WELL, 0, TOKEN, end)])
        assert len(self.delivered) == 1
        return {delta.request_id: delta for delta in self.delivered.pop()}


@pytest.mark.parametrize("fails", ["feed", "stopped"])
async def test_what_fails_to_be_read_ends_and_its_neighbour_goes_on(fails: str) -> None:
    bench = Bench(fails)
    told = bench.step()
    assert told[SICK] == Delta(SICK, 0, b"", BROKEN)
    assert told[WELL].extras == Extras([Content("x")])
    assert bench.aborted == [SICK]  # or it would run on for nobody
    assert list(bench.step()) == [WELL]  # what still comes of it is dropped


@pytest.mark.parametrize("fails", ["end", "stopped"])
async def test_what_fails_at_its_end_fails_alone(fails: str) -> None:
    bench = Bench(fails)
    told = bench.step(Finished("stop", 1, 1))
    assert told[SICK].end == BROKEN
    assert told[WELL].end == Finished("stop", 1, 1)
    assert bench.aborted == []  # it has ended there
    assert not bench.requests._in_flight


async def test_a_failure_that_cannot_be_put_into_words_is_one_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sometimes(asked: Generate, end: Failed) -> Failed:
        return boom() if asked.request_id == SICK else end

    monkeypatch.setattr(submissions, "in_the_clients_words", sometimes)
    told = Bench().step(Failed("engine_fault", "said by SGLang"))
    assert (told[SICK].end, told[WELL].end) == (BROKEN, Failed("engine_fault", "said by SGLang"))


class Engine:
    """Raises wherever it is asked about the sick request."""

    def __init__(self) -> None:
        self.submitted: list[str] = []
        self.aborted: list[str] = []
        self.deliver: Callable[[Sequence[Delta]], None] = boom

    async def start(self, deliver: Any, _: Any) -> Any:
        self.deliver = deliver
        return None

    def submit(self, asked: Any) -> None:
        self.submitted.append(asked.request_id)
        if asked.request_id == SICK:
            boom()

    def abort(self, request_id: str) -> None:
        self.aborted.append(request_id)
        if request_id == SICK:
            boom()

    loads = staticmethod(boom)


class Frontend:
    def __init__(self, *, fails: bool = False) -> None:
        self.requests = 0
        self.told: list[Delta] = []
        self._fails = fails

    def send_deltas(self, deltas: Sequence[Delta]) -> None:
        if self._fails:
            boom()
        self.told += deltas


async def watched() -> tuple[Engine, Intake]:
    engine = Engine()
    guard = WatchedEngine(
        engine, HealthSettings(enabled=False), canaries=TEXT.canaries, clock=lambda: 0.0
    )
    intake = Intake(
        guard,
        unix_ms=lambda: 0.0,
        on_idle=lambda: None,
        offers=lambda _: False,
        counts=RequestCounts(lambda: 0.0),
    )
    intake.credit_requests = 8
    await guard.start(intake.deliver, boom)
    assert guard.loads() == []
    return engine, intake


async def test_a_request_that_cannot_be_submitted_is_told_so_and_takes_no_credit() -> None:
    _, intake = await watched()
    frontend = Frontend()
    intake.take(frontend, request(SICK))
    intake.take(frontend, request(WELL))
    await asyncio.sleep(0)
    assert [(delta.request_id, isinstance(delta.end, Failed)) for delta in frontend.told] == [
        (SICK, True)
    ]
    assert (frontend.requests, len(intake)) == (1, 1)


async def test_a_request_that_cannot_be_aborted_does_not_keep_the_others_running() -> None:
    engine, intake = await watched()
    frontend = Frontend()
    for request_id in (SICK, WELL):
        intake.take(frontend, request(request_id))
    intake.abort_all_of(frontend)
    assert engine.aborted == [SICK, WELL]


async def test_a_frontend_that_cannot_be_sent_to_does_not_cost_another_one_its_tokens() -> None:
    engine, intake = await watched()
    deaf, hearing = Frontend(fails=True), Frontend()
    intake.take(deaf, request("3" * 32))
    intake.take(hearing, request(WELL))
    engine.deliver([Delta("3" * 32, 0, TOKEN), Delta(WELL, 0, TOKEN)])
    assert hearing.told == [Delta(WELL, 0, TOKEN)]


class Line:
    """A FrontendLink on a socket that keeps what is sent while there is room."""

    def __init__(self, hello: Hello | None = None) -> None:
        self.room = True
        self.sent: list[Any] = []
        self.asked: list[Any] = []
        self.link = FrontendLink(
            "inproc://frontend",
            self._open,
            hello=lambda: hello,
            on_request=lambda _, message: self.asked.append(message),
            on_forgotten=lambda _: self.asked.append("forgotten"),
            unix_ms=lambda: 1_000_000.0,
            counts=RequestCounts(lambda: 0.0),
        )
        self.link._numbering = Numbering(1)
        self._frontend = Numbering(1)

    def _open(self, receive: Any, writable: Any) -> Any:
        self.receive, self.writable = receive, writable
        return SimpleNamespace(send=self._send, close=lambda: None)

    def _send(self, frames: Sequence[bytes]) -> bool:
        if self.room:
            self.sent.append(decode_to_frontend(frames))
        return self.room

    def say(self, message: Any) -> None:
        self.receive(encode(message, self._frontend.head()))
        self._frontend.note_sent()


SURROGATE = Delta(SICK, 0, TOKEN, None, Extras([Content("\ud83d")]))


@pytest.mark.parametrize("room", [True, False])
async def test_an_output_that_does_not_encode_ends_its_request_alone(room: bool) -> None:
    line = Line()
    line.room = room
    line.link.send_deltas([SURROGATE, Delta(WELL, 0, TOKEN)])
    line.room = True
    line.writable()
    (step,) = line.sent
    assert isinstance(step, StepBatch)
    told = {delta.request_id: delta for delta in step.deltas}
    assert isinstance(told[SICK].end, Failed)
    assert told[WELL] == Delta(WELL, 0, TOKEN)
    assert line.asked[-1] == Abort(SICK)


async def test_a_request_that_does_not_decode_is_refused_and_the_session_goes_on() -> None:
    line = Line()
    line.say(request(SICK, cache_salt="s" * 300))
    line.say(request(WELL))
    line.say(FrontendHeartbeat())
    (step,) = line.sent
    assert [(delta.request_id, isinstance(delta.end, Failed)) for delta in step.deltas] == [
        (SICK, True)
    ]
    assert line.asked == [request(WELL)]  # no gap: nobody's request is forgotten


async def test_messages_that_cannot_be_read_end_no_more_than_a_session_in_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    card = ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
    capacity = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=4)
    line = Line(Hello("w", 1, "text", "dyn://n.c.e", card, capacity, 8))
    now = 100.0
    monkeypatch.setattr(line.link, "_loop", SimpleNamespace(time=lambda: now))

    def tell(garbled: bool) -> list[type]:
        """What the worker says to a message of the frontend, read or not, and to the next two, and
        with its next beat.
        """
        line.sent.clear()
        line._frontend = Numbering(line.link._numbering.session)
        if garbled:
            line.receive([line._frontend.head(), b"\xc1"])
        line._frontend.note_sent()
        line.say(FrontendHeartbeat())
        line.say(FrontendHeartbeat())
        line.link.beat(Heartbeat("w", 1, []))
        return [type(message) for message in line.sent]

    line.link.beat(Heartbeat("w", 1, []))
    assert tell(garbled=True) == []  # it introduced itself a moment ago
    now += 1.9
    assert tell(garbled=True) == []
    now += 0.1
    line.link.beat(Heartbeat("w", 1, []))
    assert [type(message) for message in line.sent] == [Hello]
    now += 2.0
    assert tell(garbled=True) == [Hello, Heartbeat]
    # lost ones: at once, since what ran is waited for
    assert tell(garbled=False) == [Hello, Heartbeat]
