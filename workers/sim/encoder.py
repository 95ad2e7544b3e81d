"""Pictures are encoded without a model: what is made of one tells which one was meant."""

import asyncio
from collections.abc import Sequence
from typing import Final, Literal, Self

from msgspec.structs import replace

from protocol.media import Encoding, PromptMedia
from protocol.process.start_error import StartError
from protocol.replies import Failed
from workers.engine import EngineFacts, OnDeath
from workers.sim.assembly import read_model, timing_of
from workers.sim.faults import Faults
from workers.sim.pictures import SimPictures, told_of
from workers.sim.settings import SimSettings, read_settings

_BATCH_PICTURES: Final = 8
"""A batch has at most this many pictures, as encoders of today have memory for."""


class SimEncoder:
    """A SimEncoder takes as long for a batch as an engine that sees for itself; its rows are the
    digests of pictures.

    Args:
        makes_pixels: as a processor does, instead of vectors.
    """

    def __init__(self, settings: SimSettings, *, makes_pixels: bool) -> None:
        self._settings = settings
        self._holds: Literal["pixels", "vectors"] = "pixels" if makes_pixels else "vectors"

    @classmethod
    def from_argv(cls, argv: Sequence[str], *, makes_pixels: bool) -> Self:
        """Returns an encoder from its part of a command line.

        Raises:
            StartError: an argument it does not have, or a value out of its range.
        """
        return cls(read_settings(argv), makes_pixels=makes_pixels)

    async def start(self, on_death: OnDeath) -> EngineFacts:  # noqa: ARG002 - it never dies
        """Reads the model's files; raises StartError where it sees nothing."""
        facts, _ = await asyncio.to_thread(read_model, self._settings)
        if facts.card.media is None or facts.card.media.image_token_id is None:
            raise StartError(f"the model {facts.card.name} takes no pictures")
        await asyncio.sleep(self._settings.sim_startup_s)
        return replace(
            facts,
            capacity=replace(facts.capacity, dp_size=1, requests_running_max=_BATCH_PICTURES),
            version="sim encoder",
            images=SimPictures(),
        )

    async def encode(self, pictures: Sequence[PromptMedia]) -> Sequence[Encoding | Failed]:
        """Returns what tells of each picture which one it was."""
        if self._settings.sim_request_faults:
            Faults().on_pictures(pictures)
        if self._settings.sim_speedup:
            tokens = sum(max(1, each.tokens) for each in pictures)
            took_ms = timing_of(self._settings).encode_ms(tokens)
            await asyncio.sleep(took_ms / 1000 / self._settings.sim_speedup)
        return [told_of(picture, self._holds) for picture in pictures]

    async def stop(self) -> None:
        """Does nothing: there is nothing to end."""
