"""An EncoderEngine over an encoder that does what its test says, on a clock that costs no time."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

from protocol.encoding import Encode, Encoded
from protocol.errors import InvalidRequest
from protocol.media import Encoding, PromptMedia
from protocol.media_plane import Encodings, FetchEncodings
from protocol.membership import Capacity, ModelCard
from protocol.replies import Delta, Failed
from tests.simulation.loop import VirtualLoop
from workers.encoding.engine import EncoderEngine
from workers.engine import EngineFacts, OnDeath

BATCH_S = 1.0
CARD = ModelCard("m", context_length=64, vocab_size=64, eos_token_ids=[], files=[])


def on_virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Makes a test of a coroutine that waits for nothing but its own clock."""

    @wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        loop = VirtualLoop(end_s=10_000.0)
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(test(*args, **kwargs))
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))
            asyncio.set_event_loop(None)
            loop.close()

    return run


def named(number: int) -> str:
    return f"{number:032x}"


def picture(digest: int, param: str = "") -> PromptMedia:
    return PromptMedia("image", b"bytes" * 10, digest, tokens=2, param=param)


def made_of(digest: int, size: int = 8) -> Encoding:
    return Encoding("vectors", (1, 1, 2), 1, data=digest.to_bytes(size, "big"))


class FakeEncoder:
    """Takes BATCH_S for a batch.

    Attributes:
        batches: digests of what it was given, by batch.
        bad: digests of pictures that it cannot read.
        raises: what happens to the next batch instead.
    """

    def __init__(self, batch_max: int = 2) -> None:
        self.batches: list[list[int]] = []
        self.bad: set[int] = set()
        self.raises: Exception | None = None
        self.stopped = False
        self.batch_s = BATCH_S
        self.size = 8
        self._batch_max = batch_max

    async def start(self, on_death: OnDeath) -> EngineFacts:
        capacity = Capacity(
            dp_size=1, kv_tokens=100, page_size_tokens=1, requests_running_max=self._batch_max
        )
        return EngineFacts(CARD, {}, capacity, "fake", generates=False)

    async def encode(self, pictures: Sequence[PromptMedia]) -> Sequence[Encoding | Failed]:
        self.batches.append([each.digest for each in pictures])
        assert all(each.data for each in pictures)
        await asyncio.sleep(self.batch_s)
        error, self.raises = self.raises, None
        if error is not None:
            raise error
        return [
            Failed(InvalidRequest.code, "damaged", each.param or None)
            if each.digest in self.bad
            else made_of(each.digest, self.size)
            for each in pictures
        ]

    async def stop(self) -> None:
        self.stopped = True


@dataclass(eq=False)
class Connection:
    """One that fetches; it keeps what it is told."""

    heard: list[Encodings]
    open: bool = True
    broken: bool = False

    def __call__(self, answer: Encodings) -> bool:
        if self.broken:
            raise RuntimeError("injected")
        if self.open:
            self.heard.append(answer)
        return self.open

    @property
    def pending(self) -> list[bool]:
        return [answer.pending for answer in self.heard]

    @property
    def digests(self) -> list[list[int]]:
        """What it was given, as digests."""
        return [
            [int.from_bytes(each.data, "big") for each in answer.encodings]
            for answer in self.heard
            if not answer.pending and not answer.failure
        ]

    @property
    def failures(self) -> list[str]:
        return [answer.failure for answer in self.heard if answer.failure]


class EncoderBench:
    """An engine that was started, and all that came of it."""

    def __init__(self, encoder: FakeEncoder | None = None, *, cache_bytes: int = 1 << 20) -> None:
        self.encoder = encoder or FakeEncoder()
        self.unix_ms = 1_000.0
        self.ends: dict[str, list[Any]] = defaultdict(list)
        self.engine = EncoderEngine(
            self.encoder, cache_bytes=cache_bytes, unix_ms=lambda: self.unix_ms
        )

    async def started(self) -> "EncoderBench":
        await self.engine.start(self._deliver, lambda _: None)
        return self

    def submit(self, number: int, *digests: int, **fields: Any) -> str:
        media = [picture(each, f"part {at}") for at, each in enumerate(digests)]
        deadline = fields.pop("deadline_unix_ms", 2_000)
        self.engine.submit(Encode(named(number), "m", media, deadline, **fields))
        return named(number)

    def fetch(
        self, number: int, connection: Connection | None = None, *, grids_only: bool = False
    ) -> Connection:
        connection = connection or Connection([])
        self.engine.fetch(FetchEncodings(named(number), grids_only), connection)
        return connection

    async def end_of(self, number: int) -> Any:
        while not self.ends[named(number)]:
            await asyncio.sleep(BATCH_S / 10)
        [end] = self.ends[named(number)]
        return end

    @property
    def tables(self) -> list[int]:
        """The sizes of all that could leak."""
        engine = self.engine
        return [
            *map(len, (engine._orders, engine._early, engine._timers, engine._canaries)),
            len(engine._jobs.waiting) + len(engine._jobs.batch),
            engine.owed,
        ]

    def _deliver(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            assert delta.end is not None
            if isinstance(delta.end, Encoded):
                assert delta.end.made + delta.end.kept > 0
            self.ends[delta.request_id].append(delta.end)
