"""A worker that makes pictures or videos asks this of what makes them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from msgspec import Struct

from protocol.diffusion import Diffuse, OutputFormat
from workers.engine import EngineFacts, OnDeath

PICTURE_PARAM: Final = "input_reference"
"""Is the clients' field for a picture to begin with that all endpoints have: a refusal's `param`
where a model needs one and none came.
"""


class Made(Struct, frozen=True):
    """A Made is a picture or video in a file of its own."""

    path: Path
    format: OutputFormat
    width: int
    height: int
    frames: int = 1
    fps: float = 0.0
    seed: int | None = None


class Step(Struct, frozen=True):
    """A Step says that one more step was made of an order.

    `steps` counts those of all its outputs together, `index` says which output `preview` is of.
    """

    step: int
    steps: int
    index: int = 0
    preview: Made | None = None


OnStep = Callable[[Step], None]
"""An OnStep is called on the event loop after each step; it must not block."""

OnFree = Callable[[], None]
"""An OnFree is called on the event loop when the next order can be made; it must not block."""


class Generator(Protocol):
    """A Generator makes what one order asks for, one order at a time, and may write the outputs of
    one while it makes those of the next.
    """

    async def start(self, on_death: OnDeath) -> EngineFacts:
        """Loads the model; returns when orders can be taken.

        `on_death` is called when the generator has ended and cannot be started anew; what ends
        while it can is an order that fails (`make`), and the next one waits until it is back.

        Raises:
            StartError: it cannot start; the message says why in one line.
        """
        ...

    async def make(
        self, order: Diffuse, into: Path, on_step: OnStep, on_free: OnFree
    ) -> Sequence[Made]:
        """Returns the outputs of an order, `order.count` of them, in files of the folder `into`.

        Called again once `on_free` was called, or it has ended, whichever is first; previews and
        outputs are encoded in the order's format. Where the order leaves a choice (size, steps,
        frames …), the model's own is taken. Cancelled, it ends at once for the caller: the
        generator frees itself, and the next call waits until it has.

        Raises:
            InvalidRequest: the model cannot do what the order asks for; `param` names the field as
            Diffuse does, or as `order.reference_params` says; PICTURE_PARAM where a picture is
            needed.
            EngineFault: it failed, with the cause in one line.
            WorkerLost: its process died while it ran; it is started anew.
        """
        ...

    async def ready(self) -> None:
        """Returns as soon as the generator can take an order, or raises WorkerLost if it is started
        anew too long; cheap, as it is a sign of life.
        """
        ...

    async def stop(self) -> None:
        """Ends it and all its processes, now; more than once."""
