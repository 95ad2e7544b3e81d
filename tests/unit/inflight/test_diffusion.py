"""What is told of pictures on the way reaches their client, whenever it comes."""

from collections.abc import Sequence
from typing import Any

import pytest

from frontend.inflight.diffusion import Diffusion
from frontend.inflight.recovery import Lost
from protocol.diffusion import Diffuse, Diffused, Output, Progress
from protocol.errors import WorkerLost
from protocol.generation import Extras


class Stream:
    """A request's stream, and who placed it."""

    error = finished = None

    def __init__(self) -> None:
        self.diffused: Diffused | None = None
        self.there: list[str] = []
        self.asked: list[str] = []
        self.moves: list[Diffused] = []
        self._extras: list[Extras] = []

    def deliver(self, *percents: int) -> None:
        self._extras += [Extras(progress=Progress(percent)) for percent in percents]

    def take_extras(self) -> Sequence[Extras]:
        extras, self._extras = self._extras, []
        return extras

    def check(self, _: Diffuse) -> None:
        """Nothing is poison."""

    async def place(self, *_: Any) -> "Stream":
        return self

    async def find(self, output_id: str) -> Output | None:
        self.asked.append(output_id[0])
        return made(output_id[0]).outputs[0] if output_id[0] in self.there else None

    async def move(self, _: Any, lost: Lost, *_others: Any) -> "Stream":
        if not self.moves:
            raise lost.error
        self.diffused = self.moves.pop()
        return self


def made(names: str, url: str = "") -> Diffused:
    return Diffused([Output(name * 48, "png", 10, 4, 4, url=url) for name in names])


async def test_what_comes_while_a_client_is_sent_something_is_not_lost() -> None:
    stream: Any = Stream()
    request = Diffuse("0" * 32, "draws", "x", 0)
    diffusion = Diffusion(stream, stream, stream, request, stream, outputs=stream)
    await diffusion.start()
    stream.deliver(10, 20)
    seen: list[int] = []
    async for progress in diffusion.progress():
        seen.append(progress.percent)
        if progress.percent == 20:  # the client takes its time, and the worker ends meanwhile
            stream.deliver(80, 90)
            stream.diffused = Diffused([])
    assert seen == [10, 20, 80, 90]
    assert diffusion.made is not None


async def finished(stream: Any, **fields: Any) -> Diffused:
    request = Diffuse("0" * 32, "draws", "x", 0, **fields)
    diffusion = Diffusion(stream, stream, stream, request, stream, outputs=stream)
    await diffusion.start()
    return await diffusion.finish()


async def test_what_cannot_be_fetched_any_more_is_made_again() -> None:
    stream = Stream()
    stream.diffused, stream.moves, stream.there = made("ab"), [made("cd")], ["a", "c", "d"]
    assert await finished(stream) == made("cd")
    assert stream.asked == ["a", "b", "c", "d"]


async def test_what_nobody_makes_again_is_lost() -> None:
    stream = Stream()
    stream.diffused = made("a")
    with pytest.raises(WorkerLost, match="thrown away"):
        await finished(stream)


@pytest.mark.parametrize(
    ("url", "job_id"), [("https://pictures.example/a.png", ""), ("", "1" * 32)]
)
async def test_what_lies_elsewhere_or_is_a_job_is_not_asked_for(url: str, job_id: str) -> None:
    stream = Stream()
    stream.diffused = made("a", url)
    assert await finished(stream, job_id=job_id) == made("a", url)
    assert stream.asked == []
