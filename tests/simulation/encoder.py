"""An encoder of pictures that can be made to hang, to be slow and to die, and that cannot read one
of the pictures.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, Literal

from protocol.errors import InvalidRequest
from protocol.media import Encoding, PromptMedia
from protocol.replies import Failed
from tests.simulation.pictures import DAMAGED
from workers.engine import EngineFacts, OnDeath
from workers.sim.encoder import SimEncoder
from workers.sim.faults import Faults
from workers.sim.settings import SimSettings

Role = Literal["text", "multimodal", "encode", "process", "draw"]
"""What a worker is started as: the first two run prompts, two encode pictures for them, and one
makes pictures.
"""

ENCODING: Final[frozenset[Role]] = frozenset(("encode", "process"))


class MortalEncoder(SimEncoder):
    """A simulated encoder with faults, as the simulated engine has them."""

    def __init__(self, settings: SimSettings, faults: Faults, *, makes_pixels: bool) -> None:
        super().__init__(settings, makes_pixels=makes_pixels)
        self._faults = faults
        self._woken = asyncio.Event()

    async def start(self, on_death: OnDeath) -> EngineFacts:
        """As SimEncoder."""
        loop = asyncio.get_running_loop()
        self._faults.on_hang = lambda: self._thaw_later(loop)
        self._faults.on_engine_death = lambda: _tell_death(loop, on_death)
        return await super().start(on_death)

    def fault(self, spec: str) -> None:
        """As SimEngine."""
        self._faults.arm(spec)
        self._woken.set()

    async def encode(self, pictures: Sequence[PromptMedia]) -> Sequence[Encoding | Failed]:
        """As SimEncoder, `slow` times as slowly, and not while it hangs."""
        made = await super().encode(pictures)
        if self._faults.slow is not None:
            await asyncio.sleep((self._faults.slow - 1) * self._settings.sim_encode_ms / 1000)
        while self._faults.hung:
            self._woken.clear()
            await self._woken.wait()
        return [
            Failed(InvalidRequest.code, "It cannot be read.", picture.param)
            if picture.digest == DAMAGED
            else encoding
            for picture, encoding in zip(pictures, made, strict=True)
        ]

    def _thaw_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._faults.hang_s is not None:
            loop.call_later(self._faults.hang_s, self._thaw)

    def _thaw(self) -> None:
        self._faults.hung = False
        self._woken.set()


def _tell_death(loop: asyncio.AbstractEventLoop, on_death: OnDeath) -> None:
    loop.call_soon(on_death, "the simulated encoder died")
