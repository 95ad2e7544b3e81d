"""What one frontend process asks and tells the others goes through their parent."""

import asyncio
from collections.abc import Callable, Collection, Coroutine

import msgspec

from frontend.observe.families import Family
from frontend.processes.child import Child
from frontend.processes.messages import Answers, Ask, Scrape, Tell, Told, ToParent
from frontend.processes.sums import Sums

METRICS = "metrics"
"""Is the topic under which a process is asked for its own metrics."""

_encode = msgspec.msgpack.Encoder().encode
_families = msgspec.msgpack.Decoder(list[Family]).decode


class Hub:
    """A Hub hands on messages between the children of a parent.

    Args:
        children: those that run now.
    """

    def __init__(self, children: Callable[[], Collection[Child]]) -> None:
        self._children = children
        self._sums = Sums()
        self._asking: set[asyncio.Task[None]] = set()

    def take(self, child: Child, message: ToParent) -> None:
        """Takes what a child says."""
        match message:
            case Tell(topic, body):
                for other in self._others(child):
                    other.send(Told(topic, body))
            case Ask():
                self._soon(self._ask(child, message))
            case Scrape(number):
                self._soon(self._scrape(child, number))
            case _:
                pass

    def ended(self, child: Child) -> None:
        """Notes that a child has ended."""
        self._sums.ended(child.number)

    def _others(self, child: Child) -> list[Child]:
        return [other for other in self._children() if other is not child and other.serves]

    def _soon(self, asking: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(asking)
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, child: Child, ask: Ask) -> None:
        answers = await asyncio.gather(
            *(other.ask(ask.topic, ask.body) for other in self._others(child))
        )
        child.send(Answers(ask.number, [answer for answer in answers if answer is not None]))

    async def _scrape(self, child: Child, number: int) -> None:
        """Answers with the sum of all; one that does not answer in time counts as it last did."""
        asked = [each for each in self._children() if each.serves]
        for each, answer in zip(
            asked, await asyncio.gather(*(each.ask(METRICS, b"") for each in asked)), strict=True
        ):
            if answer is not None and each.serves:
                self._sums.note(each.number, _families(answer))
        child.send(Answers(number, [_encode(self._sums.total())]))
