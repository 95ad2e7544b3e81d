"""Counts what a body is made of before it is parsed: time and memory go with values, and three
bytes can be one.
"""

from typing import Final

from protocol.errors import InvalidRequest

LARGE_BYTES: Final = 256 * 1024
"""Is the size from which on the work on a body leaves the loop, whatever it is made of: 64k tokens
of text take a millisecond, without being tokenized.
"""

UNCOUNTED_BYTES: Final = 8 * 1024
"""Is the size up to which no body is looked at: it takes 6 ms at most."""

MARKS_MAX: Final = 2_000
"""Bounds the quotes of strings and the opening brackets up to which the work on a smaller body
stays on the loop: a schema has ten and takes 10 µs in all, a message nine and 20 µs. Numbers by
themselves are cheap.
"""

_MARKS: Final = b'"[{'
_COUNTED: Final = b"[{:,"

OPENED_MAX: Final = 60_000
"""Bounds the objects and lists of one body: 10,000 messages with parts and calls have as many; each
takes 0.1 µs and up to 250 bytes.
"""

MEMBERS_MAX: Final = 100_000
"""Bounds the names in objects, 0.3 µs each: the parser, which nothing interrupts, is done with all
of a body in 50 ms.
"""

ITEMS_MAX: Final = 150_000
"""Bounds the commas of one body: a conversation of 10,000 messages with parts and calls has
130,000; a template writes what tools have at 0.3 µs each.
"""

TOKEN_IDS_MAX: Final = 500_000
"""Bounds the commas where a body is token ids, of which OpenAI takes 300,000 in a request for
embeddings.
"""

_SLICE_BYTES: Final = 1 << 20
"""Is looked at together, so that its masks stay in the cache; between two slices other threads
run.
"""


def is_large(body: bytes | bytearray) -> bool:
    """Returns whether work on that body would stop the loop for more than some 5 ms.

    Text costs nearly nothing, what is made of values much. Costs 1 ms a megabyte.
    """
    if len(body) <= UNCOUNTED_BYTES:
        return False
    if len(body) > LARGE_BYTES:
        return True
    marks = len(body) - len(body.translate(None, _MARKS))
    # A quote behind a backslash is within a text, or ends one; none begins a name or a text.
    return marks > MARKS_MAX and marks - body.count(b'\\"') > MARKS_MAX


def check_counts(body: bytes | bytearray, items_max: int = ITEMS_MAX) -> None:
    """Refuses a body whose values would take long to make, or much memory.

    Costs 0.6 ms a megabyte, some 5 if its text has many brackets.

    Raises:
        InvalidRequest: naming the bound.
    """
    if _has_few(body, min(OPENED_MAX, MEMBERS_MAX, items_max)):
        return
    opened, members, items = _counted(body, outside_text=False)
    if opened <= OPENED_MAX and members <= MEMBERS_MAX and items <= items_max:
        return
    opened, members, items = _counted(body, outside_text=True)
    for count, most, what in (
        (opened, OPENED_MAX, "objects and lists"),
        (members, MEMBERS_MAX, "names"),
        (items, items_max, "values"),
    ):
        if count > most:
            raise InvalidRequest(
                f"The body has {count} {what}; at most {most} are allowed in one request."
            )


def _has_few(body: bytes | bytearray, most: int) -> bool:
    """Returns whether there are no more than `most` brackets, colons and commas altogether, within
    text or not: so it is in nearly every text of up to a million tokens.
    """
    count = 0
    for start in range(0, len(body), _SLICE_BYTES):
        piece = body[start : start + _SLICE_BYTES]
        count += len(piece) - len(piece.translate(None, _COUNTED))
        if count > most:
            return False
    return True


def _counted(body: bytes | bytearray, *, outside_text: bool) -> tuple[int, int, int]:
    """Returns the numbers of opening brackets, colons and commas; those within strings are left out
    if `outside_text`.
    """
    import numpy as np  # noqa: PLC0415 - 12 MiB that a frontend whose bodies are text never needs

    opened = members = items = inside = 0
    kept = b""
    for start in range(0, len(body), _SLICE_BYTES):
        piece = body[start : start + _SLICE_BYTES]
        if outside_text:
            piece, kept = _without_escapes(kept + piece)
        found = np.frombuffer(piece, np.uint8)
        brackets = (found == ord("[")) | (found == ord("{"))
        colons, commas = found == ord(":"), found == ord(",")
        if outside_text and len(found):
            within = np.bitwise_xor.accumulate(found == ord('"')) ^ bool(inside)
            inside = int(within[-1])
            brackets, colons, commas = brackets & ~within, colons & ~within, commas & ~within
        opened += int(np.count_nonzero(brackets))
        members += int(np.count_nonzero(colons))
        items += int(np.count_nonzero(commas))
    return opened, members, items


def _without_escapes(piece: bytes) -> tuple[bytes, bytes]:
    """Returns the piece less escaped backslashes and quotes, and the half of an escape at its
    end.
    """
    backslashes = len(piece) - len(piece.rstrip(b"\\"))
    whole = len(piece) - backslashes % 2
    return piece[:whole].replace(b"\\\\", b"").replace(b'\\"', b""), piece[whole:]
