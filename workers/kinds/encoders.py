"""Two encoders serve pictures alike: SGLang's, of the model itself, and the simulation of one.

Each is imported when it is asked for, as the engines are.
"""

import secrets
import struct
import time
import zlib
from collections.abc import Callable
from functools import cache
from typing import Final

from protocol.encoding import Encode
from protocol.media import PromptMedia
from workers.encoding.encoder import Encoder
from workers.encoding.engine import EncoderEngine
from workers.engine import NO_DEADLINE_UNIX_MS, EngineFacts
from workers.health.canary import CanaryFields, MakeCanary
from workers.kinds.arguments import Arguments
from workers.kinds.engines import STAGE_FLAG, help_of_sglang, help_of_sim, sglang_argv, sim_argv
from workers.kinds.kind import EngineChoice

_MEGABYTE: Final = 1_000_000

_CANARY_SIDE_PIXELS: Final = 56
"""Is the side of the smallest picture that every model takes."""


def picture_encoder(
    make: Callable[[Arguments], Encoder], help_text: Callable[[], str]
) -> EngineChoice:
    """Returns the choice of an encoder as an engine."""
    return EngineChoice(
        lambda _, arguments: EncoderEngine(
            make(arguments.without(STAGE_FLAG)),
            cache_bytes=arguments.settings.encoder_cache_mb * _MEGABYTE,
            unix_ms=lambda: time.time() * 1000,
        ),
        help_text,
    )


def sglang_encoder(arguments: Arguments) -> Encoder:
    """Returns SGLang's own encoder of a model."""
    with sglang_argv(arguments) as argv:
        from workers.sglang.encoder import SglangEncoder  # noqa: PLC0415 - imports torch

        return SglangEncoder.from_argv(argv)


def sglang_processor(arguments: Arguments) -> Encoder:
    """Returns the processor of a model, as an encoder that makes pixels."""
    with sglang_argv(arguments) as argv:
        from workers.sglang.processor import SglangProcessor  # noqa: PLC0415 - imports torch

        return SglangProcessor.from_argv(argv, tokenizes=arguments.settings.use_sglang_tokenizer)


def simulated_encoder(*, makes_pixels: bool) -> Callable[[Arguments], Encoder]:
    """Returns what makes an encoder without a model."""

    def make(arguments: Arguments) -> Encoder:
        with sim_argv(arguments) as argv:
            from workers.sim.encoder import SimEncoder  # noqa: PLC0415

            return SimEncoder.from_argv(argv, makes_pixels=makes_pixels)

    return make


ENCODERS: Final = {
    "sglang": picture_encoder(sglang_encoder, help_of_sglang),
    "sim": picture_encoder(simulated_encoder(makes_pixels=False), help_of_sim),
}

PROCESSORS: Final = {
    "sglang": picture_encoder(sglang_processor, help_of_sglang),
    "sim": picture_encoder(simulated_encoder(makes_pixels=True), help_of_sim),
}


def small_pictures(facts: EngineFacts, _: CanaryFields) -> MakeCanary:
    """Returns what makes canaries of one small picture each, that nothing is known of yet."""
    return lambda request_id, rank: _small_picture(request_id, facts, rank)


def first_picture(facts: EngineFacts, _tokens: int, dp_rank: int | None) -> Encode:
    """Returns one of the first requests of a worker that encodes."""
    return _small_picture(secrets.token_hex(16), facts, dp_rank)


def _small_picture(request_id: str, facts: EngineFacts, dp_rank: int | None) -> Encode:
    picture = PromptMedia("image", _grey_png(_CANARY_SIDE_PIXELS), 1 + secrets.randbits(62))
    return Encode(
        request_id,
        facts.card.name,
        [picture],
        NO_DEADLINE_UNIX_MS,
        fetches=0,
        routed_dp_rank=dp_rank,
    )


@cache  # it is asked for with every canary
def _grey_png(side_pixels: int) -> bytes:
    """Returns a grey picture (W3C PNG, section 11)."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    head = struct.pack(">IIBBBBB", side_pixels, side_pixels, 8, 2, 0, 0, 0)
    rows = (b"\0" + b"\x80\x80\x80" * side_pixels) * side_pixels
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
