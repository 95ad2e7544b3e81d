"""What orders leave to their worker is as its operator says, or else as the model has it."""

import re
from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from protocol.diffusion import SIDE_PIXELS_MAX, STEPS_MAX, Diffuse
from protocol.process.settings import setting
from protocol.process.start_error import StartError

_SIZE: Final = re.compile(r"([1-9]\d{0,4})x([1-9]\d{0,4})", re.ASCII)


@dataclass(frozen=True)
class Usual:
    """A Usual is what is made where an order does not say what; 0: as the model has it."""

    width: int = 0
    height: int = 0
    steps: int = 0

    def completed(self, order: Diffuse) -> Diffuse:
        """Returns an order that says what this says, unless it says something else itself; what is
        made of a picture has the size that the model makes of that one's.
        """
        if self.width and not (order.width or order.height or order.references):
            order = replace(order, width=self.width, height=self.height)
        return order if order.steps or not self.steps else replace(order, steps=self.steps)

    def sized(self, order: Diffuse) -> Diffuse:
        """Returns an order in this size, whatever it says."""
        return replace(order, width=self.width, height=self.height) if self.width else order


@dataclass(frozen=True, kw_only=True)
class UsualSettings:
    """UsualSettings are those of a worker's settings that say what is made where clients do not."""

    media_default_size: str | None = setting(
        None,
        "WIDTHxHEIGHT of pictures and videos where a client names no size; the model's own if not "
        "given",
        env="KVMESH_MEDIA_DEFAULT_SIZE",
    )
    media_default_steps: int = setting(
        0,
        "steps of each where a client names none; 0 for the model's own number",
        env="KVMESH_MEDIA_DEFAULT_STEPS",
    )

    def usual(self) -> Usual:
        """Returns what the settings say.

        Raises:
            StartError: a value is out of its range.
        """
        if not 0 <= self.media_default_steps <= STEPS_MAX:
            raise StartError(
                f"--media-default-steps must be 0 to {STEPS_MAX}, not {self.media_default_steps}"
            )
        if self.media_default_size is None:
            return Usual(steps=self.media_default_steps)
        match = _SIZE.fullmatch(self.media_default_size)
        width, height = map(int, match.groups()) if match else (0, 0)
        if not match or max(width, height) > SIDE_PIXELS_MAX:
            raise StartError(
                "--media-default-size must be WIDTHxHEIGHT in pixels, each at most "
                f"{SIDE_PIXELS_MAX}, not {self.media_default_size!r}"
            )
        return Usual(width, height, self.media_default_steps)
