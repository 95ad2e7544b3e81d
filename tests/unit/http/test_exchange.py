"""One exchange against an ASGI server made of lists and events."""

import asyncio
import gc
import gzip
import json
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Container, MutableMapping
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from frontend.http import body_counts, incoming_body
from frontend.http import exchange as subject
from frontend.http.body_budget import BodyBudget
from frontend.http.deadlines import Deadlines
from frontend.http.exchange import Exchange
from frontend.http.ignored import Ignored
from frontend.http.leaving import LEAVING, Leaving
from frontend.http.stream_keep_alive import KEEP_ALIVE, tick
from protocol.errors import (
    BodyTooLarge,
    BodyTooSlow,
    ClientGone,
    DeadlineExceeded,
    InternalFault,
    InvalidRequest,
    MeshError,
    MethodNotAllowed,
    Overloaded,
    RequestAborted,
    ShuttingDown,
    UnsupportedMediaType,
)

NOW_UNIX_S = 1_000.0


class Server:
    """The server's side; the sends numbered in `stuck` never return."""

    def __init__(
        self,
        body: list[bytes],
        *,
        stuck: Container[int] = (),
        budget_bytes: int = 1_000,
        timeout_s: float = 30,
        **headers: str,
    ) -> None:
        self.sent: list[MutableMapping[str, Any]] = []
        self.leaving = Leaving()
        self.budget_bytes = budget_bytes
        self.budget = BodyBudget(budget_bytes)
        self._stuck = stuck
        self._sends = 0
        self._messages = [
            {"type": "http.request", "body": part, "more_body": True} for part in body[:-1]
        ]
        self._messages.append({"type": "http.request", "body": body[-1], "more_body": False})
        raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
        self.exchange = Exchange(
            {"headers": raw, LEAVING: self.leaving},
            self.receive,
            self.send,
            body_bytes_max=100,
            budget=self.budget,
            timeout_s=timeout_s,
            deadlines=Deadlines(30),
            now_unix_s=NOW_UNIX_S,
            ignored=Ignored("ignore"),
        )

    async def receive(self) -> MutableMapping[str, Any]:
        return self._messages.pop(0) if self._messages else await asyncio.Event().wait() or {}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        self._sends += 1
        if self._sends - 1 in self._stuck:
            await asyncio.Event().wait()
        self.sent.append(message)

    async def answer(self, work: Callable[[Exchange], Awaitable[None]]) -> MeshError | None:
        return await self.exchange.answer(work)

    @property
    def starts(self) -> list[int]:
        return [
            message["status"] for message in self.sent if message["type"] == "http.response.start"
        ]

    def all_given_back(self) -> bool:
        self.budget.take(self.budget_bytes)
        return True


async def read_and_answer(exchange: Exchange) -> None:
    await exchange.send_json(200, await exchange.read_body())


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON ;x",
        "application/vnd.api+json",
        "text/json",
        "",
    ],
)
async def test_json_by_any_name_is_taken(content_type: str) -> None:
    server = Server([b"{}"], content_type=content_type)
    assert await server.answer(read_and_answer) is None
    assert server.starts == [200]


@pytest.mark.parametrize(
    "content_type",
    [
        "application/x-www-form-urlencoded",
        "text/plain",
        "application/jsonp",
        "multipart/form-data; json",
    ],
)
async def test_another_content_type_is_refused_with_the_header_to_set(content_type: str) -> None:
    server = Server([b"{}"], content_type=content_type)
    error = await server.answer(read_and_answer)
    assert isinstance(error, UnsupportedMediaType)
    assert server.starts == [415]
    message = json.loads(server.sent[1]["body"])["error"]["message"]
    assert content_type in message
    assert "-H 'content-type: application/json'" in message


async def test_a_missing_content_type_is_taken_for_json() -> None:
    assert await Server([b"{}"]).answer(read_and_answer) is None


async def test_a_body_in_parts_is_put_together_and_given_back_when_answered() -> None:
    server = Server([b"ab", b"cd", b""])
    assert await server.answer(read_and_answer) is None
    assert server.sent[1]["body"] == b"abcd"
    assert server.all_given_back()


@pytest.mark.parametrize("body", [[b"x" * 101], [b"x" * 60, b"x" * 60]])
async def test_a_body_over_the_cap_is_refused_and_given_back(body: list[bytes]) -> None:
    server = Server(body)
    assert isinstance(await server.answer(read_and_answer), BodyTooLarge)
    assert server.starts == [413]
    assert server.all_given_back()


@pytest.mark.parametrize("body", [[b"x" * 60], [b"x" * 30, b"x" * 30]])
async def test_bodies_over_the_shared_budget_are_told_to_come_back(body: list[bytes]) -> None:
    server = Server(body, budget_bytes=50)
    assert isinstance(await server.answer(read_and_answer), Overloaded)
    assert server.starts == [503]
    assert (b"retry-after", b"1") in server.sent[0]["headers"]
    assert server.all_given_back()


async def test_a_wrong_method_is_told_the_right_one() -> None:
    async def refuse(_: Exchange) -> None:
        raise MethodNotAllowed("no")

    server = Server([b""])
    await server.answer(refuse)
    assert server.starts == [405]
    assert (b"allow", b"OPTIONS, POST") in server.sent[0]["headers"]


async def test_events_start_once_and_end_once() -> None:
    async def stream(exchange: Exchange) -> None:
        await exchange.send_events(b"data: 1\n\n")
        await exchange.end_events(b"data: [DONE]\n\n")

    server = Server([b""])
    assert await server.answer(stream) is None
    assert server.starts == [200]
    assert [bool(message.get("more_body")) for message in server.sent[1:]] == [True, False]


async def test_a_failure_within_a_stream_is_its_last_event() -> None:
    async def stream(exchange: Exchange) -> None:
        await exchange.send_events(b"data: 1\n\n")
        raise ValueError

    server = Server([b""])
    assert isinstance(await server.answer(stream), InternalFault)
    assert server.starts == [200]
    assert b"internal_error" in server.sent[-1]["body"]
    assert server.sent[-1]["body"].endswith(b"data: [DONE]\n\n")


async def test_a_failure_behind_the_end_of_an_answer_sends_nothing_more() -> None:
    async def whole(exchange: Exchange) -> None:
        await exchange.send_json(200, b"{}")
        raise ValueError

    async def stream(exchange: Exchange) -> None:
        await exchange.end_events(b"data: [DONE]\n\n")
        raise ValueError

    for work in (whole, stream):
        server = Server([b""])
        assert isinstance(await server.answer(work), InternalFault)
        assert len(server.sent) == 2


async def test_nothing_is_sent_to_a_client_that_left_a_stream() -> None:
    async def stream(exchange: Exchange) -> None:
        await exchange.send_events(b"data: 1\n\n")
        raise ClientGone("left")

    server = Server([b""])
    await server.answer(stream)
    assert len(server.sent) == 2


@pytest.mark.parametrize("stuck_at", [0, 1, 2])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_client_that_reads_nothing_is_given_up(
    monkeypatch: pytest.MonkeyPatch, stuck_at: int, streamed: bool
) -> None:
    async def work(exchange: Exchange) -> None:
        if streamed:
            while True:
                await exchange.send_events(b"data: 1\n\n")
        await exchange.send_json(200, b"{}")
        await asyncio.Event().wait()

    monkeypatch.setattr(subject, "ERROR_SEND_S_MAX", 0.01)
    server = Server([b""], stuck=range(stuck_at, 1_000), timeout_s=0.01)
    assert isinstance(await server.answer(work), DeadlineExceeded)
    assert len(server.starts) == min(stuck_at, 1)


async def test_a_start_that_never_went_out_leaves_room_for_the_error() -> None:
    async def work(exchange: Exchange) -> None:
        await exchange.send_events(b"data: 1\n\n")

    # the deadline comes while the first send waits for the client's buffer
    server = Server([b""], stuck={0}, timeout_s=0.01)
    assert isinstance(await server.answer(work), DeadlineExceeded)
    assert server.starts == [504]


async def forever(exchange: Exchange) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("milliseconds", "timeout_s"),
    [("20", 0.02), ("1", 0.001), ("30000", 30), ("99999", 30), ("999999999999", 30)],
)
def test_a_client_may_wait_for_less_than_the_server_would(
    milliseconds: str, timeout_s: float
) -> None:
    exchange = Server([b""], x_request_timeout_ms=milliseconds).exchange
    assert (exchange.timeout_s, exchange.deadline_unix_ms) == (
        timeout_s,
        (NOW_UNIX_S + timeout_s) * 1000,
    )


async def test_the_answer_to_a_late_request_tells_the_time_that_it_had() -> None:
    server = Server([b""], x_request_timeout_ms="20")
    assert isinstance(await server.answer(forever), DeadlineExceeded)
    assert server.starts == [504]
    assert b"within 0.02 seconds" in server.sent[1]["body"]


@pytest.mark.parametrize("value", ["0", "-1", "", "1.5", "soon", "9" * 13, "\u00b2"])
async def test_a_time_that_is_none_is_refused_by_name(value: str) -> None:
    server = Server([b""], x_request_timeout_ms=value)
    assert isinstance(await server.answer(read_and_answer), InvalidRequest)
    assert json.loads(server.sent[1]["body"])["error"]["param"] == "x-request-timeout-ms"


@pytest.mark.parametrize("events", [0, 1])
async def test_what_is_cut_off_ends_with_exactly_that_error(events: int) -> None:
    async def work(exchange: Exchange) -> None:
        for _ in range(events):
            await exchange.send_events(b"data: 1\n\n")
        await forever(exchange)

    server = Server([b""])
    answering = asyncio.create_task(server.answer(work))
    await asyncio.sleep(0)
    for _ in range(2):
        server.exchange.cut_off(ShuttingDown("bye"))
    assert isinstance(await answering, ShuttingDown)
    assert server.starts == [200 if events else 503]
    assert [message["body"].count(b"shutting_down") for message in server.sent[1 + events :]] == [1]
    if not events:
        assert {(b"retry-after", b"1"), (b"connection", b"close")} <= set(server.sent[0]["headers"])


@pytest.mark.parametrize("begun", [False, True])
async def test_a_stream_that_is_silent_from_tick_to_tick_gets_a_comment(begun: bool) -> None:
    go_on = asyncio.Event()

    async def work(exchange: Exchange) -> None:
        exchange.streams = True
        if begun:
            await exchange.send_events(b"data: 1\n\n")
        await go_on.wait()
        await exchange.send_events(b"data: 2\n\n")
        await exchange.end_events(b"data: [DONE]\n\n")

    server = Server([b""])
    answering = asyncio.create_task(server.answer(work))
    await asyncio.sleep(0)
    tick(server.exchange)
    assert len(server.sent) == 2 * begun
    for _ in range(2):
        tick(server.exchange)
    go_on.set()
    assert await answering is None
    tick(server.exchange)  # it has ended
    first = [b"data: 1\n\n"] * begun
    assert [message["body"] for message in server.sent[1:]] == [
        *first,
        KEEP_ALIVE,
        KEEP_ALIVE,
        b"data: 2\n\n",
        b"data: [DONE]\n\n",
    ]
    assert server.starts == [200]


async def test_what_is_no_stream_or_takes_no_comments_or_is_sending_gets_none() -> None:
    async def whole(exchange: Exchange) -> None:
        await forever(exchange)

    async def native(exchange: Exchange) -> None:
        exchange.streams, exchange.takes_comments = True, False
        await forever(exchange)

    async def sending(exchange: Exchange) -> None:
        exchange.streams = True
        await exchange.send_events(b"data: 1\n\n")

    for work, stuck in ((whole, []), (native, []), (sending, [0]), (sending, [1])):
        server = Server([b""], stuck=stuck)
        answering = asyncio.create_task(server.answer(work))
        await asyncio.sleep(0)
        before = len(server.sent)
        for _ in range(3):
            tick(server.exchange)
        assert len(server.sent) == before
        answering.cancel()


async def test_a_comment_does_not_wait_for_a_client_that_does_not_read() -> None:
    async def work(exchange: Exchange) -> None:
        exchange.streams = True
        await exchange.send_events(b"data: 1\n\n")
        await forever(exchange)

    server = Server([b""], stuck=[2])
    answering = asyncio.create_task(server.answer(work))
    await asyncio.sleep(0)
    for _ in range(2):
        tick(server.exchange)
    assert len(server.sent) == 2
    for _ in range(2):
        tick(server.exchange)
    assert server.sent[-1]["body"] == KEEP_ALIVE
    answering.cancel()


async def test_an_abort_ends_the_work_where_it_can_and_the_request_where_not() -> None:
    async def work(exchange: Exchange) -> None:
        exchange.work = SimpleNamespace(abort=lambda: exchange.model == "can")
        await forever(exchange)

    server = Server([b""], x_request_id="mine")
    answering = asyncio.create_task(server.answer(work))
    await asyncio.sleep(0)
    server.exchange.rids = ["r_0"]
    assert all(
        map(server.exchange.goes_by, ["mine", "r_0", f"chatcmpl-{server.exchange.request_id}"])
    )
    assert not any(
        map(server.exchange.goes_by, ["", "min", "r", "r_1", server.exchange.request_id[:31]])
    )
    server.exchange.model = "can"
    server.exchange.abort()
    server.exchange.model = "cannot"
    server.exchange.abort()
    assert isinstance(await answering, RequestAborted)
    assert server.starts == [499]


async def test_an_unpacked_body_is_what_counts() -> None:
    for size, status in ((100, 200), (101, 413)):
        server = Server([gzip.compress(b"x" * size)], content_encoding="gzip")
        await server.answer(read_and_answer)
        assert server.starts == [status]
        assert server.all_given_back()


async def test_what_has_ended_cannot_be_cut_off() -> None:
    server = Server([b"{}"])
    assert await server.answer(read_and_answer) is None
    server.exchange.cut_off(ShuttingDown("bye"))
    assert server.starts == [200]


class Slow:
    """A body that is arriving, into whose place others come."""

    def __init__(self, budget: BodyBudget, size_bytes: int, moved_at: float) -> None:
        self.size_bytes, self.moved_at = size_bytes, moved_at
        self.budget = budget
        budget.take(size_bytes)
        budget.arriving.add(self)

    def give_up(self) -> None:
        self.budget.arriving.discard(self)
        self.budget.give(self.size_bytes)
        self.size_bytes = 0


def test_who_holds_most_for_the_longest_silence_makes_room() -> None:
    budget = BodyBudget(1_000)
    large, small, recent = (
        Slow(budget, 500, 0.0),
        Slow(budget, 10, 0.0),
        Slow(budget, 490, time.monotonic()),
    )
    budget.take(400)
    assert (large.size_bytes, small.size_bytes, recent.size_bytes) == (0, 10, 490)
    budget.take(100, recent)
    with pytest.raises(Overloaded):  # nobody but itself is left
        budget.take(600, recent)
    assert small.size_bytes == 0


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(incoming_body, "PROGRESS_S_MAX", 0.02)
    server = Server([b"{"])
    server._messages[0]["more_body"] = True
    error = await server.answer(read_and_answer)
    assert (type(error), server.starts) == (BodyTooSlow, [408])
    assert (b"connection", b"close") in server.sent[0]["headers"]
    assert server.all_given_back()


async def test_an_error_keeps_nothing_of_its_request() -> None:
    server = Server([b"{}"])

    class Held:
        pass

    held: list[weakref.ref[Held]] = []

    async def fail(exchange: Exchange) -> None:
        request = Held()
        held.append(weakref.ref(request))
        try:
            raise ValueError
        except ValueError as cause:
            raise InvalidRequest("no") from cause

    gc.disable()
    try:
        error = await server.answer(fail)
        assert isinstance(error, InvalidRequest)
        assert held[0]() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("body", [[b"{}"], [b"{", b"}"]], ids=["whole", "in parts"])
async def test_what_has_ended_is_no_garbage_that_must_be_looked_for(body: list[bytes]) -> None:
    server = Server(body)
    gc.disable()
    try:
        await server.answer(read_and_answer)
        ended = weakref.ref(server.exchange)
        del server.exchange
        assert ended() is None
    finally:
        gc.enable()


async def test_what_is_done_with_a_large_body_leaves_its_place_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(body_counts, "UNCOUNTED_BYTES", 10)
    monkeypatch.setattr(body_counts, "LARGE_BYTES", 80)
    messages = [{"role": "user"}]

    class Request(msgspec.Struct):
        messages: list[dict[str, str]]

    server = Server([b" " * 90], budget_bytes=100)

    async def work(exchange: Exchange) -> None:
        await exchange.read_body()
        thread = await exchange.in_proportion(threading.get_ident)
        assert thread != threading.get_ident()
        await exchange.keep_only(Request(messages), messages)
        server.budget.take(80)
        server.budget.give(80)
        await exchange.send_json(200, b"{}")

    assert await server.answer(work) is None
    assert not messages
    assert server.all_given_back()


async def test_a_client_that_leaves_ends_the_work_and_nothing_else() -> None:
    begun = asyncio.Event()

    async def wait() -> None:
        begun.set()
        await asyncio.Event().wait()

    server = Server([b""])
    answering = asyncio.create_task(
        server.answer(lambda exchange: exchange.run_until_client_leaves(wait()))
    )
    await begun.wait()
    server.leaving.note()
    assert isinstance(await answering, ClientGone)
    assert server.sent == []


async def test_who_has_left_before_is_not_worked_for() -> None:
    server = Server([b"{}"])
    server.leaving.note()
    error = await server.answer(
        lambda exchange: exchange.run_until_client_leaves(read_and_answer(exchange))
    )
    assert isinstance(error, ClientGone)
    assert server.sent == []
