"""Run as a program: an encoder of a model, or a processor, which encodes batches of pictures.

    python encoder_process.py encoder|processor [SGLang arguments] < batches > made

Both are MessagePack in base64: lists of PromptMedia, and what each batch became behind the facts.
"""

import asyncio
import base64
import sys
from typing import Any

import msgspec
import psutil

from protocol.media import PromptMedia
from protocol.process.start_error import StartError

BATCHES = msgspec.msgpack.Decoder(list[list[PromptMedia]])


async def made(kind: str, argv: list[str], batches: list[list[PromptMedia]]) -> list[Any]:
    if kind == "encoder":
        from workers.sglang.encoder import SglangEncoder as Encoder  # noqa: PLC0415
    else:
        from workers.sglang.processor import SglangProcessor as Encoder  # noqa: PLC0415
    encoder = Encoder.from_argv(argv)
    deaths: list[str] = []
    facts = await encoder.start(deaths.append)
    encoded = [await encoder.encode(batch) for batch in batches]
    heard = {at.laddr.ip for at in psutil.Process().net_connections() if at.status == "LISTEN"}
    assert heard <= {"127.0.0.1"}, heard  # nobody else reaches what SGLang listens on
    await encoder.stop()
    assert deaths == []
    return [msgspec.structs.replace(facts, images=None, prompts=None), encoded]


if __name__ == "__main__":
    asked = BATCHES.decode(base64.b64decode(sys.stdin.read()))
    try:
        out = asyncio.run(made(sys.argv[1], sys.argv[2:], asked))
    except StartError as error:
        sys.exit(f"StartError: {error}")
    told = msgspec.msgpack.encode(out, enc_hook=str)
    print("made", base64.b64encode(told).decode())
