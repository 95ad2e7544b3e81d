"""What is told of pictures on the way reaches their client, whenever it comes."""

from collections.abc import Sequence
from typing import Any

from frontend.inflight.diffusion import Diffusion
from protocol.diffusion import Diffuse, Diffused, Progress
from protocol.generation import Extras


class Stream:
    """A request's stream, and who placed it."""

    error = finished = None

    def __init__(self) -> None:
        self.diffused: Diffused | None = None
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
