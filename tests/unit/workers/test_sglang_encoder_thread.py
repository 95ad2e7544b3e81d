"""What an encoder's thread does to its event loop, and when its device is lost. Without SGLang."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from protocol.errors import WorkerLost
from protocol.media import Encoding, PromptMedia
from protocol.replies import Failed
from workers.engine import BROKEN
from workers.sglang.encode_batches import DeviceLostError, EncodeBatches
from workers.sglang.encoder import SglangEncoder, device_lost

PICTURES = [PromptMedia("image", b"", digest) for digest in (1, 2)]
MADE = [Encoding("grid", (1, 2, 2))] * 2


class Batches:
    """Stands in for what encodes."""

    def __init__(self, encode: Any) -> None:
        self.encode = encode


def encoder(encode: Any, deaths: list[str]) -> SglangEncoder:
    made = SglangEncoder(None)
    made._batches, made._on_death = Batches(encode), deaths.append  # type: ignore[assignment]
    return made


def test_the_loop_goes_on_while_a_batch_is_encoded() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def encode(_: Sequence[PromptMedia]) -> list[Encoding]:
        begun.set()
        assert may_end.wait(60)
        return MADE

    async def run() -> None:
        made = encoder(encode, [])
        encoding = asyncio.create_task(made.encode(PICTURES))
        while not begun.is_set():
            await asyncio.sleep(0)
        assert not encoding.done()
        may_end.set()
        assert await encoding == MADE
        await made.stop()
        await made.stop()

    asyncio.run(run())


def test_a_lost_device_is_told_once_and_loses_whatever_is_asked_for() -> None:
    deaths: list[str] = []

    def encode(_: Sequence[PromptMedia]) -> list[Encoding]:
        raise DeviceLostError("CUDA error: an illegal memory access was encountered")

    async def run() -> None:
        made = encoder(encode, deaths)
        for _ in range(2):
            ends = await made.encode(PICTURES)
            assert [end.code for end in ends if isinstance(end, Failed)] == [WorkerLost.code] * 2
        await made.stop()

    asyncio.run(run())
    assert deaths == [
        "the encoder's device is lost: CUDA error: an illegal memory access was encountered"
    ]


def test_what_a_device_says_at_its_end_is_found_behind_sglangs_own_words() -> None:
    def fail(message: str) -> Exception:
        try:
            try:
                raise RuntimeError(message)
            except RuntimeError as error:
                raise ValueError(f"Internal encoding error: {len(str(error))}")  # noqa: B904
        except ValueError as error:
            return error

    assert device_lost(fail("CUDA error: unspecified launch failure")) == (
        "CUDA error: unspecified launch failure"
    )
    assert device_lost(fail("CUDA out of memory. Tried to allocate 2 GiB")) is None
    assert device_lost(None) is None


def test_what_fails_together_is_tried_alone(caplog: pytest.LogCaptureFixture) -> None:
    """A picture that the model cannot take, though it was decoded."""
    asked: list[list[str]] = []

    def compute(images: Sequence[str]) -> Any:
        asked.append([*images])
        if "bad" in images:
            raise ValueError("no such picture")
        return [((1, 2, 2), image) for image in images]

    batches = EncodeBatches(None, compute, "vectors")  # type: ignore[arg-type]
    assert batches._numbers(["a", "bad", "b"]) == [((1, 2, 2), "a"), BROKEN, ((1, 2, 2), "b")]
    assert asked == [["a", "bad", "b"], ["a"], ["bad"], ["b"]]
    assert "no such picture" in caplog.text
