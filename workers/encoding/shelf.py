"""What was made of pictures is kept for whoever asks about the same ones again."""

from collections import OrderedDict

from protocol.media import Encoding

ENTRY_BYTES = 512
"""Is what an encoding takes beside its data."""


class Shelf:
    """A Shelf keeps encodings by the digests of their pictures, those used last, within a bound.

    Args:
        bytes_max: of all of them together; one that is larger is not kept.
    Attributes:
        size_bytes: of what is kept now.
    """

    def __init__(self, bytes_max: int) -> None:
        self.size_bytes = 0
        self._bytes_max = bytes_max
        self._kept: OrderedDict[int, Encoding] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, digest: int) -> Encoding | None:
        """Returns what was made of a picture, if it is still here."""
        encoding = self._kept.get(digest)
        if encoding is not None:
            self._kept.move_to_end(digest)
        return encoding

    def put(self, digest: int, encoding: Encoding) -> None:
        """Keeps an encoding, in the place of those that were used longest ago."""
        old = self._kept.pop(digest, None)
        if old is not None:
            self.size_bytes -= _size(old)
        if _size(encoding) > self._bytes_max:
            return
        self._kept[digest] = encoding
        self.size_bytes += _size(encoding)
        while self.size_bytes > self._bytes_max:
            _, oldest = self._kept.popitem(last=False)
            self.size_bytes -= _size(oldest)


def _size(encoding: Encoding) -> int:
    return len(encoding.data) + ENTRY_BYTES
