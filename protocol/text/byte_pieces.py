"""The text of token ids that are bytes, made when an id first comes: an answer has some hundreds of
the ids of a vocabulary, and most ids never come.
"""

from array import array
from collections.abc import Collection
from itertools import accumulate

from protocol.text.pieces import PieceTable


class BytePieces:
    """A BytePieces holds what each id of a table is worth. Memory for a vocabulary of 151k: 3 MiB,
    and 60 bytes for each id that came, where all texts would take 11 MiB.

    Args:
        skipped: ids that are worth nothing.
    Attributes:
        texts: of each id, its text if its bytes are whole characters (nearly always), else its
        bytes; None for an id that has not been asked for. Shape [ids].
    """

    __slots__ = ("_blob", "_ends", "_skipped", "texts")

    def __init__(self, table: PieceTable, skipped: Collection[int]) -> None:
        sizes = array("I")
        sizes.frombytes(table.sizes)
        self._blob = table.blob
        self._ends = array("I", accumulate(sizes))
        self._skipped = skipped
        self.texts: list[str | bytes | None] = [None] * len(sizes)

    def bytes_of(self, token_id: int) -> bytes:
        """Returns the bytes of an id, which are its text's from now on; none for an unknown id."""
        if not 0 <= token_id < len(self.texts):
            return b""
        start = self._ends[token_id - 1] if token_id else 0
        piece = b"" if token_id in self._skipped else self._blob[start : self._ends[token_id]]
        if self.texts[token_id] is None:
            self.texts[token_id] = _text_or_bytes(piece)
        return piece


def _text_or_bytes(piece: bytes) -> str | bytes:
    try:
        return piece.decode()
    except UnicodeDecodeError:
        return piece
