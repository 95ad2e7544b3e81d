"""Parsers make nothing of some parts of an answer: a call that is cut off before its name, that no
tool has, or that is malformed.

SGLang's parsers drop such text, once they have seen a mark that begins a call. It was generated and
paid for, so it is shown as content.
"""

import re
from collections.abc import Sequence
from typing import Final

LAG_CHARS_MAX: Final = 32
"""Unseen text of a call that was cut off is dropped up to so many characters: parsers hold so much
back of a call whose arguments are not in JSON, and nothing can be made of it.
"""

_MARKS: Final = (
    r"</[^<>]{0,60}(?:>|\Z)"
    r"|<[|｜][^<>]{0,60}(?:end|suffix|stop|eom|call|return|sep|CALL|END)[^<>]{0,60}[|｜]>"  # noqa: RUF001 - DeepSeek's own characters
    r"|<tool_call\|>"  # Gemma's
    r"|<\|close\|>\w*"  # Kimi K3's
    r"|\]<\]\w{1,60}\[>\["  # MiniMax M3's, before its tags
)
"""A call ends with one of these marks. The patterns are bounded, as what models and clients write
may have a thousand beginnings.
"""

_MARK: Final = re.compile(_MARKS)
_CLOSING: Final = re.compile(_MARKS + r"|\W|_")
"""Marks that end a call, white space and brackets match this."""

_BETWEEN: Final = re.compile(r"[^\w<]{0,60}(?:</[^<>]{0,60}>\s{0,60}){1,3}([^<\[{]*)<")
"""Text between the end of one call and the mark of the next matches this."""

_OPENING: Final = re.compile(
    r"<\|open\|>\w{1,60}|<\]\w{1,60}\[>\[<[^<>/\s]{1,60}|<(?!\|(?:sep|close)\|)[^<>/\s]{1,60}(?:\s\w{1,60})?"
)
"""A call may begin with what matches this: in Kimi K3's and MiniMax M3's formats a mark stands
before every tag.
"""

_ARGUMENTS: Final = re.compile(r"(?:[^{<>]|<[|｜][^<>]{0,60}[|｜]>){0,80}\{")  # noqa: RUF001
"""This matches what stands between a call's name and its arguments in JSON, and their first
character.
"""

_MARK_CHARS: Final = 40
"""This many characters are kept of the text before, which may have the beginning of a mark."""


class Unseen:
    """An Unseen is the text behind the last that was made something of."""

    __slots__ = ("_before", "_texts")

    def __init__(self) -> None:
        self._before = ""
        self._texts: list[str] = []

    def take(self, text: str, content: str, *, called: bool, name: str) -> str:
        """Takes more text, and what a parser made of it and of what was unseen: content, and
        whether that is a part of a call.

        Args:
            name: of the call, if it begins one.
        Returns:
            What the parser passed over before the call: text, or calls that it could not read.
        """
        self._texts.append(text)
        if called:
            unseen = "".join(self._texts)
            between = _BETWEEN.match(unseen)
            self._seen(unseen, len(unseen))
            if name and (passed_over := _begun_before(unseen, name)):
                return passed_over
            return between[1] if between and between[1].strip() else ""
        if content.strip():  # white space is found anywhere
            unseen = "".join(self._texts)
            at = unseen.rfind(content)
            self._seen(unseen, len(unseen) if at < 0 else at + len(content))
        return ""

    def lost(self, *, behind_call: bool, cut_off: bool, shown: str) -> str:
        """Returns the unseen text if it is more than the end of a call, else nothing.

        Args:
            behind_call: there was a call, so that the text may begin with the rest of its end.
            cut_off: the text goes on with a call that is cut off.
            shown: the content.
        """
        unseen = "".join(self._texts)
        text = unseen.strip()
        if (cut_off and len(text) <= LAG_CHARS_MAX) or text in shown or not self._has_more(unseen):
            return ""
        return self._behind_end(unseen) if behind_call else unseen

    def _behind_end(self, unseen: str) -> str:
        text, begins = self._before + unseen, len(self._before)
        for mark in _MARK.finditer(text):
            if text[begins : mark.start()].strip():
                break
            begins = max(begins, mark.end())
        return text[begins:]

    def _seen(self, unseen: str, chars: int) -> None:
        self._before, self._texts = (self._before + unseen[:chars])[-_MARK_CHARS:], [unseen[chars:]]

    def _has_more(self, unseen: str) -> bool:
        """Tells whether anything is in the text beside marks, of which the first may have begun
        before it.
        """
        begins, end = len(self._before), 0
        for mark in _CLOSING.finditer(self._before + unseen):
            if mark.start() > max(end, begins):
                return True
            end = mark.end()
        return end < begins + len(unseen)


def _begun_before(unseen: str, name: str) -> str:
    """Returns the text before a call's own beginning, if another one begins there: with the same
    mark.
    """
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for mark in _OPENING.finditer(unseen, 0, max(0, unseen.rfind(name))):
        first.setdefault(mark[0], mark.start())
        last[mark[0]] = mark.start()
    return next((unseen[: last[mark]] for mark in first if last[mark] > first[mark]), "")


def unread_calls(text: str, names: Sequence[str], shown: str) -> str:
    """Returns, of a whole text, the calls that none of those found can be: they begin as these do,
    and have not their names.

    Args:
        names: of the calls that were found, in order.
        shown: the content.
    """
    if not names or names[0] not in text:
        return ""
    begins = _OPENING.findall(text, 0, text.index(names[0]))
    mark = next((mark for mark in begins if text.count(mark) > len(names)), None)
    if mark is None:
        return ""
    left, unread = list(names), ""
    for call in text.split(mark)[1:]:
        if left and left[0] in call:
            left.pop(0)
        elif call.strip() not in shown:
            unread += mark + call
    return unread


def rest_of_call(text: str, name: str, arguments: str) -> tuple[str, str] | None:
    """Returns what follows in a text behind a call's arguments that are in JSON there too, apart
    from white space.

    Returns:
        What goes on with the arguments, up to a mark that ends the call, and what is behind that;
        None if they are not found.
    """
    begins = _ARGUMENTS.match(text, text.rfind(name) + len(name)) if name in text else None
    if begins is None:
        return None
    at, wanted = begins.end() - 1, "".join(arguments.split())
    for char in wanted:
        while at < len(text) and text[at].isspace():
            at += 1
        if not text.startswith(char, at):
            return None
        at += 1
    mark = _MARK.search(text, at)
    return (text[at:], "") if mark is None else (text[at : mark.start()], text[mark.end() :])


def is_more_than_an_end(text: str) -> bool:
    """Tells whether anything is in the text beside marks."""
    return bool(_CLOSING.sub("", text))


def without_end(text: str) -> str:
    """Returns what stands behind a call, without the marks that end it."""
    while (mark := _MARK.match(text.lstrip())) is not None:
        text = text.lstrip()[mark.end() :]
    return text
