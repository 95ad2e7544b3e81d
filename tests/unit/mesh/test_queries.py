"""Questions to workers: to whom they go, and what becomes of them when a worker is lost, full or
silent.
"""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from msgspec.structs import replace

from frontend.fleet.encoders import PROCESS, Encoders
from frontend.mesh.queries import ANSWER_S_MAX, ASKED_MAX, Queries
from protocol.errors import DeadlineExceeded, InvalidRequest, NoWorker
from protocol.media import MediaTaken
from protocol.membership import CardFile, ModelCard
from protocol.replies import Failed, Tokenized
from protocol.requests import Tokenize

CARD = ModelCard(
    "m",
    context_length=8,
    vocab_size=8,
    eos_token_ids=[],
    files=[CardFile("pieces", "ab" * 32, 1)],
    media=MediaTaken(9, encoder="x"),
)


class Workers:
    """Stands for the registry, the wire and the workers of one model."""

    def __init__(self, *names: str) -> None:
        self.sent: list[tuple[str, Tokenize]] = []
        self.deaf: set[str] = set()
        self.of = {name: cast("Any", SimpleNamespace(worker_id=name)) for name in names}
        self.asked = dict(self.of)
        """Those of the model, and processors."""
        self.encoders = Encoders()
        entry = SimpleNamespace(worker_of=self.of, served=SimpleNamespace(card=CARD))
        registry = SimpleNamespace(
            generation=lambda digest: entry if digest == "m" else None, encoders=self.encoders
        )
        self.queries = Queries(cast("Any", registry), self._send, lambda: 1.0)

    def _send(self, worker: Any, message: Any) -> bool:
        self.sent.append((worker.worker_id, message))
        return worker.worker_id not in self.deaf

    def processor(self, name: str, card: ModelCard) -> None:
        """One that makes pixels of pictures, too."""
        hello = SimpleNamespace(stage=PROCESS, card=card)
        worker: Any = SimpleNamespace(worker_id=name, takes_work=True, hello=hello)
        self.encoders.add(worker)
        self.asked[name] = worker

    def answer(self, index: int, **content: Any) -> None:
        name, query = self.sent[index]
        self.queries.take(self.asked[name], Tokenized(query.query_id, **content))


def query(number: int = 0) -> Tokenize:
    return Tokenize(f"{number:032x}", "m", 0, "text")


async def asked(workers: Workers, *queries: Tokenize) -> list["asyncio.Task[Tokenized]"]:
    tasks = [asyncio.ensure_future(workers.queries.ask("m", each)) for each in queries]
    await asyncio.sleep(0)
    return tasks


async def test_questions_are_shared_out_and_each_gets_its_own_answer() -> None:
    workers = Workers("a", "b")
    tasks = await asked(workers, query(1), query(2), query(3), query(4))
    assert sorted(name for name, _ in workers.sent) == ["a", "a", "b", "b"]
    for index in (3, 1, 0, 2):
        workers.answer(index, token_ids=bytes([index] * 4))
    assert [answer.token_ids for answer in await asyncio.gather(*tasks)] == [
        bytes([index] * 4) for index in range(4)
    ]


@pytest.mark.parametrize("code", ["no_worker", "overloaded"])
async def test_what_a_lost_or_full_worker_does_not_answer_another_one_does(code: str) -> None:
    workers = Workers("a", "b", "c")
    workers.deaf.add("a")
    (task,) = await asked(workers, query())
    assert [name for name, _ in workers.sent] == ["a", "b"]
    workers.answer(1, failed=Failed(code, "not here"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    workers.answer(2, token_ids=b"abcd")
    assert (await task).token_ids == b"abcd"


async def test_questions_of_a_worker_that_leaves_go_to_another_and_end_when_there_is_none() -> None:
    workers = Workers("a", "b")
    (task,) = await asked(workers, query())
    workers.queries.worker_left(workers.of["a"])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [name for name, _ in workers.sent] == ["a", "b"]
    workers.answer(0, token_ids=b"late")  # from the lost one
    workers.queries.worker_left(workers.of["b"])
    with pytest.raises(NoWorker):
        await task


async def test_an_error_of_the_prompt_is_told_and_not_tried_elsewhere() -> None:
    workers = Workers("a", "b")
    (task,) = await asked(workers, query())
    workers.answer(0, failed=Failed("invalid_value", "no such role", "messages"))
    with pytest.raises(InvalidRequest, match="no such role") as raised:
        await task
    assert raised.value.param == "messages"
    assert len(workers.sent) == 1


async def test_no_more_than_the_bound_are_asked_and_the_others_wait_in_order() -> None:
    workers = Workers("a")
    tasks = await asked(workers, *(query(number) for number in range(ASKED_MAX + 3)))
    assert len(workers.sent) == ASKED_MAX
    tasks[ASKED_MAX].cancel()
    tasks[1].cancel()
    workers.answer(0, token_ids=b"abcd")
    await asyncio.wait(tasks[:2])
    more = await asked(workers, query(1_000))
    await asyncio.wait([tasks[ASKED_MAX]])
    assert [int(sent.query_id, 16) for _, sent in workers.sent[ASKED_MAX:]] == [
        ASKED_MAX + 1,
        ASKED_MAX + 2,
    ]
    workers.answer(2, token_ids=b"abcd")
    await tasks[2]
    await asyncio.sleep(0)
    assert int(workers.sent[-1][1].query_id, 16) == 1_000
    assert {sent.deadline_unix_ms for _, sent in workers.sent} == {1000 * (1 + int(ANSWER_S_MAX))}
    for task in (*tasks[3:], *more):
        task.cancel()


async def test_those_who_wait_hear_that_nobody_is_left() -> None:
    workers = Workers("a")
    tasks = await asked(workers, *(query(number) for number in range(2 * ASKED_MAX + 5)))
    lost = workers.of.pop("a")
    workers.queries.worker_left(lost)
    for result in await asyncio.gather(*tasks, return_exceptions=True):
        assert isinstance(result, NoWorker)


async def test_when_every_worker_has_its_fill_of_others_they_are_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("frontend.mesh.queries.REFUSED_PAUSE_S", 0)
    workers = Workers("a")
    (task,) = await asked(workers, query())
    workers.answer(0, failed=Failed("overloaded", "full"))
    while len(workers.sent) < 2:
        await asyncio.sleep(0)
    workers.answer(1, token_ids=b"abcd")
    assert (await task).token_ids == b"abcd"


async def test_a_model_that_nobody_serves_has_nobody_to_ask() -> None:
    with pytest.raises(NoWorker):
        await Workers("a").queries.ask("unknown", query())


async def test_silence_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("frontend.mesh.queries.ANSWER_S_MAX", 0)
    with pytest.raises(DeadlineExceeded):
        await Workers("a").queries.ask("m", query())
    assert ANSWER_S_MAX > 1


async def test_what_a_silent_worker_does_not_answer_another_one_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("frontend.mesh.queries.ANSWER_S_MAX", 0)
    workers = Workers("a", "b")
    (task,) = await asked(workers, query())
    monkeypatch.undo()
    for _ in range(5):
        await asyncio.sleep(0)
    assert [name for name, _ in workers.sent] == ["a", "b"]
    workers.answer(0, token_ids=b"late")  # from the silent one
    workers.answer(1, token_ids=b"abcd")
    assert (await task).token_ids == b"abcd"


async def test_a_question_that_waited_too_long_at_a_worker_is_put_to_another_one() -> None:
    workers = Workers("a", "b")
    (task,) = await asked(workers, query())
    for index in range(2):
        workers.answer(index, failed=Failed("deadline_exceeded", "waited too long"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(DeadlineExceeded, match="waited too long"):
        await task
    assert [name for name, _ in workers.sent] == ["a", "b"]


async def test_processors_are_asked_first_and_then_the_others() -> None:
    workers = Workers("a")
    workers.processor("p", CARD)
    (task,) = await asked(workers, query())
    assert [name for name, _ in workers.sent] == ["p"]
    workers.answer(0, failed=Failed("no_worker", "drains"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [name for name, _ in workers.sent] == ["p", "a"]
    workers.answer(1, token_ids=b"abcd")
    assert (await task).token_ids == b"abcd"


@pytest.mark.parametrize(
    "other",
    [{"files": [CardFile("pieces", "cd" * 32, 1)]}, {"chat_template_file": "own.jinja"}],
    ids=["tokenizer", "template"],
)
async def test_a_processor_with_other_files_writes_no_prompts(other: dict[str, Any]) -> None:
    workers = Workers("a")
    workers.processor("p", replace(CARD, **other))
    (task,) = await asked(workers, query())
    assert [name for name, _ in workers.sent] == ["a"]
    task.cancel()
