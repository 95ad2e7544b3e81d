"""How an answer shows that a parameter of pictures or videos was honoured, and pictures to send."""

import base64
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

from conformance.parameters.exchange import Answer

Ask = Callable[..., Answer]

RED: Final = (255, 0, 0, 255)
BLUE: Final = (0, 0, 255, 255)
NOTHING: Final = (0, 0, 0, 0)
SIDE: Final = 64

_BEGINNINGS: Final = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF"}


def plain(colour: tuple[int, int, int, int], side: int = SIDE) -> str:
    """A square PNG of one colour (red, green, blue, alpha), as a data URL."""
    rows = (b"\0" + bytes(colour) * side) * side
    parts = (
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    data = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(part)) + kind + part + struct.pack(">I", zlib.crc32(kind + part))
        for kind, part in parts
    )
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def files(answer: Answer) -> list[bytes]:
    """What an answer holds in base64."""
    return [base64.b64decode(made["b64_json"]) for made in answer.body["data"]]


def pictures(count: int) -> Callable[[Answer, Ask], bool]:
    """So many pictures came, no two alike."""

    def effect(answer: Answer, _: Ask) -> bool:
        made = files(answer)
        return len(made) == len(set(made)) == count

    return effect


def of_format(name: str) -> Callable[[Answer, Ask], bool]:
    """All files are of that format, and the answer says so."""

    def effect(answer: Answer, _: Ask) -> bool:
        return answer.body["output_format"] == name and all(
            file.startswith(_BEGINNINGS[name]) for file in files(answer)
        )

    return effect


def png_of(width: int, height: int) -> Callable[[Answer, Ask], bool]:
    """The file has this size."""
    return lambda answer, _: (
        struct.unpack(">II", files(answer)[0][16:24]) == (width, height)
        and answer.body["size"] == f"{width}x{height}"
    )


def another(**instead: Any) -> Callable[[Answer, Ask], bool]:
    """What was made is not what the request without it makes, with `instead`: of a seed the same
    comes twice.
    """

    def effect(answer: Answer, ask: Ask) -> bool:
        before = files(ask(**instead))
        return files(answer) != before == files(ask(**instead))

    return effect


def smaller_file(answer: Answer, ask: Ask) -> bool:
    """The file is smaller than without it, and of the same format."""
    return len(files(answer)[0]) < len(files(ask())[0])


def links(answer: Answer, _: Ask) -> bool:
    """What was made is told by where it is."""
    return all(
        made["url"].startswith("http") and "b64_json" not in made for made in answer.body["data"]
    )


def events_named(kind: str, partial: int = 0) -> Callable[[Answer, Ask], bool]:
    """So many events of pictures on the way, and one of a whole one."""
    names = [f"{kind}.partial_image"] * partial + [f"{kind}.completed"]
    return lambda answer, _: [event["type"] for event in answer.events] == names
