"""Formats whose calls are read only when the answer is whole, because SGLang's parser of their streams says something else than its
parser of whole texts, or nothing. Their content is streamed up to what may begin a call."""

from typing import Final


class Marks:
    """What calls of a format may begin with."""

    __slots__ = ("_marks",)

    def __init__(self, *marks: str) -> None:
        self._marks = marks

    def split(self, text: str) -> tuple[str, str]:
        """What must wait since it is or may become a mark, and the clear text before it."""
        cut = min((self._from(text, mark) for mark in self._marks), default=len(text))
        return text[cut:], text[:cut]

    @staticmethod
    def _from(text: str, mark: str) -> int:
        found = text.find(mark)
        if found >= 0:
            return found
        longest = min(len(mark) - 1, len(text))
        return next((len(text) - size for size in range(longest, 0, -1) if text.endswith(mark[:size])), len(text))


_WHOLE_ONLY: Final[dict[str, Marks]] = {}


def marks_of(tool_call_parser: str) -> Marks | None:
    """What calls begin with in a format that is not streamed; None for one that is."""
    return _WHOLE_ONLY.get(tool_call_parser)
