"""Pictures and videos are made without a model, in steps that take their time."""

import asyncio
import secrets
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, Self

from msgspec.structs import replace

from protocol.diffusion import SEED_END, Diffuse
from protocol.errors import EngineFault, InvalidRequest, WorkerLost, error_from_code
from protocol.membership import Capacity, ModelCard
from protocol.process.start_error import StartError
from workers.diffusion.generator import Made, OnFree, OnStep, Step
from workers.engine import EngineFacts, OnDeath
from workers.sim.drawing import (
    SIDE_PIXELS_MAX,
    Drawing,
    Kept,
    Pixels,
    jpeg,
    kept_pixels,
    reference_pixels,
    write_picture,
)
from workers.sim.faults import Faults, read_faults
from workers.sim.mp4 import mp4
from workers.sim.settings import SimSettings, read_settings

_CAPACITY: Final = Capacity(dp_size=1, page_size_tokens=1, kv_tokens=1, requests_running_max=1)

_USUAL: Final = Diffuse("0" * 32, "", "", 0, width=512, height=512, steps=8)
_USUAL_VIDEO: Final = Diffuse("0" * 32, "", "", 0, width=256, height=256, steps=8, fps=8)
"""Are what an order leaves to the model."""

_SECONDS: Final = 2.0
"""Is the length of a video where an order says nothing of it."""

_VIDEO_PIXELS_MAX: Final = 2**28
"""Bounds the pixels of all frames of a video, a gigabyte in memory: a real model has some such
bound.
"""


class SimGenerator:
    """A SimGenerator takes `--sim-step-ms` a megapixel for each step.

    Args:
        videos: of which it makes nothing else.
        faults: given by tests whose crashes must not be real.
    """

    def __init__(
        self, settings: SimSettings, *, videos: bool, faults: Faults | None = None
    ) -> None:
        self._settings = settings
        self._videos = videos
        self._faults = read_faults(settings.sim_fault, faults or Faults())
        self._woken = asyncio.Event()
        self._back_at = 0.0
        """A generator that died is back at this time of the loop's clock."""
        self._died = False

    @classmethod
    def from_argv(cls, argv: Sequence[str], *, videos: bool) -> Self:
        """Returns a generator from its part of a command line.

        Raises:
            StartError: an argument it does not have, or a value out of its range.
        """
        return cls(read_settings(argv), videos=videos)

    async def start(self, on_death: OnDeath) -> EngineFacts:  # noqa: ARG002 - it never dies for good
        """Waits for --sim-startup-s; raises StartError for the fault start-error."""
        settings = self._settings
        await asyncio.sleep(settings.sim_startup_s)
        if self._faults.armed("start-error"):
            raise StartError("the simulated engine does not start (--sim-fault start-error)")
        loop = asyncio.get_running_loop()
        self._faults.on_hang = lambda: self._thaw_later(loop)
        self._faults.on_engine_death = self._die
        path = (settings.model_path or "").rstrip("/").rpartition("/")[2]
        usual = "sim-videos" if self._videos else "sim-images"
        card = ModelCard(
            settings.served_model_name or path or usual,
            context_length=1,
            vocab_size=1,
            eos_token_ids=[],
            files=[],
        )
        return EngineFacts(card, {}, _CAPACITY, "sim generator", generates=False)

    def fault(self, spec: str) -> None:
        """Arms a fault now: "KIND", "KIND=VALUE" or "clear" (workers/sim/faults.py).

        Raises:
            ValueError: no such fault, in one line.
        """
        self._faults.arm(spec)
        self._woken.set()

    async def make(
        self, order: Diffuse, into: Path, on_step: OnStep, on_free: OnFree
    ) -> Sequence[Made]:
        """Draws what was asked for, as Generator says."""
        await self._back()
        order = self._settled(order)
        failure = self._faults.on_request()
        if failure is not None:
            raise error_from_code(failure.code, failure.message, failure.param)
        await self._requested_fault(order)
        size = order.width, order.height
        beginning = (
            await asyncio.to_thread(reference_pixels, order, size),
            await asyncio.to_thread(kept_pixels, order, size),
        )
        writing = [
            await self._one(order, index, beginning, into, on_step) for index in range(order.count)
        ]
        on_free()
        return await asyncio.gather(*writing)

    async def ready(self) -> None:
        """Returns when it is back from a death, and not while it hangs."""
        await self._back()
        await self._thawed()

    async def stop(self) -> None:
        """Does nothing: there is nothing to end."""

    def _settled(self, order: Diffuse) -> Diffuse:
        """Returns an order that leaves nothing to the model.

        Raises:
            InvalidRequest: it asks for what no model could make.
        """
        if (order.format == "mp4") != self._videos:
            raise InvalidRequest(
                f"The model makes {'videos' if self._videos else 'pictures'} alone.", param="model"
            )
        usual = _USUAL_VIDEO if self._videos else _USUAL
        settled = replace(
            order,
            width=order.width or usual.width,
            height=order.height or usual.height,
            steps=order.steps or usual.steps,
            fps=order.fps or usual.fps,
            seed=secrets.randbits(31) if order.seed is None else order.seed,
        )
        frames = order.frames or max(1, round((order.seconds or _SECONDS) * settled.fps))
        settled = replace(settled, frames=frames if self._videos else 1)
        for name in ("width", "height"):
            if getattr(settled, name) > SIDE_PIXELS_MAX:
                raise InvalidRequest(f"A side has {SIDE_PIXELS_MAX} pixels at most.", param=name)
        if settled.width * settled.height * settled.frames > _VIDEO_PIXELS_MAX:
            raise InvalidRequest("The video is too long for its size.", param="frames")
        return settled

    async def _one(
        self,
        order: Diffuse,
        index: int,
        beginning: tuple[Pixels | None, Kept | None],
        into: Path,
        on_step: OnStep,
    ) -> "asyncio.Future[Made]":
        """Makes the output of an index, step by step; returns it to be written.

        Args:
            beginning: the picture that is changed, and where it is not.
        """
        assert order.seed is not None, "settled"
        seed = (order.seed + index) % SEED_END
        drawing = Drawing(order.prompt, seed, (order.width, order.height), *beginning)
        shown_at = {
            order.steps * (each + 1) // (order.previews + 1): each
            for each in range(order.previews if not self._videos else 0)
        }
        for step in range(1, order.steps + 1):
            await self._step(order)
            preview = None
            if step < order.steps and step in shown_at:
                path = into / f"preview-{index}-{shown_at[step]}"
                share = step / order.steps
                preview = await asyncio.to_thread(_picture, order, drawing, path, share, seed)
            on_step(Step(index * order.steps + step, order.steps * order.count, index, preview))
            self._faults.on_tokens(1)
            self._check_alive()
        path = into / f"output-{index}"
        write = (
            partial(_video, order, drawing, path, seed)
            if self._videos
            else partial(_picture, order, drawing, path, 1.0, seed)
        )
        return asyncio.ensure_future(asyncio.to_thread(write))

    async def _step(self, order: Diffuse) -> None:
        settings = self._settings
        factor = (self._faults.slow or 1.0) / (settings.sim_speedup or float("inf"))
        megapixels = order.width * order.height * order.frames / 1e6
        await asyncio.sleep(settings.sim_step_ms / 1000 * megapixels * factor)
        await self._thawed()
        self._check_alive()

    async def _requested_fault(self, order: Diffuse) -> None:
        if order.seed is None or not self._settings.sim_request_faults:
            return
        fault = self._faults.on_seed(order.seed)
        if fault == "error":
            raise EngineFault("The simulated engine failed this request.")
        if fault == "mute":
            await asyncio.Event().wait()  # until it is aborted
        self._check_alive()

    def _die(self) -> None:
        """Plays the death of the generator's own process, which is started anew."""
        self._faults.hung = False
        self._died = True
        self._back_at = asyncio.get_running_loop().time() + self._settings.sim_startup_s

    def _check_alive(self) -> None:
        if self._died:
            self._died = False
            raise WorkerLost("The generator died while it made this.", cause="died")

    async def _back(self) -> None:
        self._died = False
        await asyncio.sleep(max(0.0, self._back_at - asyncio.get_running_loop().time()))

    async def _thawed(self) -> None:
        while self._faults.hung:
            self._woken.clear()
            await self._woken.wait()

    def _thaw_later(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._faults.hang_s is not None:
            loop.call_later(self._faults.hang_s, self._thaw)

    def _thaw(self) -> None:
        self._faults.hung = False
        self._woken.set()


def _picture(order: Diffuse, drawing: Drawing, path: Path, share: float, seed: int) -> Made:
    write_picture(drawing.pixels(share), path, order.format, order.compression)
    return Made(path, order.format, order.width, order.height, seed=seed)


def _video(order: Diffuse, drawing: Drawing, path: Path, seed: int) -> Made:
    shifts = (frame / order.frames for frame in range(order.frames))
    frames = [jpeg(drawing.pixels(shift=shift)) for shift in shifts]
    path.write_bytes(mp4(frames, order.width, order.height, order.fps))
    return Made(path, "mp4", order.width, order.height, order.frames, float(order.fps), seed)
