"""A worker and the process that makes its pictures talk to each other by these messages, each
behind its length; and each step is told by a datagram.
"""

from typing import Final

import msgspec
from msgspec import Struct

from protocol.diffusion import Diffuse, OutputFormat

DIRECTORY: Final = "_KVMESH_DIFFUSION"
"""This environment variable names the directory of a generator's processes. No setting: a worker
sets it for its own processes.
"""

STEPS_SOCKET: Final = "steps"
"""The worker is told of steps at this socket of the directory."""

CONFIG_FILE: Final = "config.yaml"
"""SGLang reads `Setup.config`, JSON too, from this file of the directory."""

SCHEDULER_SOCKET: Final = "scheduler"
"""SGLang's scheduler is asked at this socket of the directory."""

WORLD_FILE: Final = "world"
"""The ranks meet in this file of the directory."""

MARK_FILE: Final = "mark"
"""The directory's `Mark` lies here."""


class Setup(Struct, frozen=True):
    """A Setup is what the process is told first."""

    argv: list[str]
    """Lists SGLang's arguments."""
    videos: bool
    worker_pid: int
    config: bytes = b""
    """Is the file of SGLang's --config, which may be gone; empty: none was named."""


class Make(Struct, frozen=True):
    """A Make asks for the outputs of one order."""

    number: int
    order: Diffuse
    into: str
    """Names the folder that they are written to."""


class Up(Struct, frozen=True, tag=True):
    """An Up says that the model is loaded."""

    names: list[str]
    """Lists the model's names, the first of which counts."""
    version: str
    pids: list[int]
    """Lists the processes of the ranks."""


class Ended(Struct, frozen=True, tag=True):
    """An Ended says why the process ends, in one line."""

    reason: str


class File(Struct, frozen=True):
    """A File is an output, by its name in the order's folder."""

    name: str
    format: OutputFormat
    width: int
    height: int
    frames: int
    fps: float
    seed: int


class Freed(Struct, frozen=True, tag=True):
    """A Freed says that all of a Make is made, and being written: the next one can come."""

    number: int


class Finished(Struct, frozen=True, tag=True):
    """A Finished answers a Make whose outputs are all written."""

    number: int
    files: list[File]


class Refused(Struct, frozen=True, tag=True):
    """A Refused answers a Make that came to nothing."""

    number: int
    code: str
    """Names a leaf of `protocol.errors`; empty where it was left, as asked."""
    message: str = ""
    param: str | None = None


Reply = Up | Ended | Freed | Finished | Refused


class Told(Struct, frozen=True):
    """A Told goes with a request to the ranks, and says what they are to do besides."""

    number: int
    index: int
    into: str
    format: OutputFormat
    previews: int = 0
    compression: int = 100
    guidance_scale: float | None = None


class Stepped(Struct, frozen=True, array_like=True):
    """A Stepped says how far the output `index` of an order is."""

    number: int
    index: int
    done: int
    total: int
    preview: File | None = None


encode_step: Final = msgspec.msgpack.Encoder().encode
decode_step: Final = msgspec.msgpack.Decoder(Stepped).decode
decode_reply: Final = msgspec.msgpack.Decoder(Reply).decode
