"""SGLang's stream parsers want their text cut in ways that differ from format to format.

The marks below are one token each in their models' own vocabularies, so the parsers of these
streams look for whole ones. With another tokenizer, or behind a stop string that held text back, a
mark may come in pieces, and its beginning would be shown as content.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

_TAG: Final = "<｜tool▁{}｜>"  # noqa: RUF001 - DeepSeek's own characters
_DEEPSEEK: Final = tuple(
    _TAG.format(mark) for mark in ("calls▁begin", "call▁begin", "sep", "call▁end", "calls▁end")
)
_HARMONY: Final = tuple(
    f"<|{mark}|>" for mark in ("start", "channel", "constrain", "message", "end", "call", "return")
)
_KIMI: Final = tuple(
    f"<|tool_{mark}|>"
    for mark in (
        "calls_section_begin",
        "calls_section_end",
        "call_begin",
        "call_argument_begin",
        "call_end",
    )
)

_MARKS_OF_CALLS: Final[dict[str, tuple[str, ...]]] = {
    "deepseekv3": _DEEPSEEK,
    "deepseekv31": _DEEPSEEK,
    "gigachat3": ("<|message_sep|>\n\nfunction call<|role_sep|>\n", "<|function_call|>"),
    "gpt-oss": _HARMONY,
    "kimi_k2": _KIMI,
    "mimo": ("<tool_call>", "</tool_call>"),
    "minimax-m2": ("<minimax:tool_call>", "</minimax:tool_call>"),
}
_MARKS_OF_THINKING: Final[dict[str, tuple[str, ...]]] = {
    "cohere_command4": ("<|START_THINKING|>", "<|END_THINKING|>", "<|START_TEXT|>", "<|END_TEXT|>"),
    "gpt-oss": _HARMONY,
}


_READ_AGAIN: Final = frozenset({"hermes", "llama3", "pythonic", "qwen", "qwen25", "trinity"})
"""These parsers read a call from its beginning with every snippet (`python -m
bench.sglang.parsing`).
"""

_BITES: Final = 32
"""A call is given to its parser in at least this many bites, one by one; with so many the last bite
is 3 % of the call.
"""

SILENT_CHARS_MAX: Final = 1_024
"""A parser that makes nothing of so many characters has no use for the next few."""

SNIPPET_CHARS: Final = 8
"""A snippet without a mark has at most this many characters: some stream parsers lose or misplace
text that comes together with what ends it.

About two tokens.
"""


WHOLE_STEPS_MAX: Final = 10_000_000
"""A whole text is too dear to parse from this many steps on, which are marks of calls in it times
its length: from each of them some parsers of whole texts search to the end. It comes to 0.2 s, and
thirty calls in 300,000 characters to less.
"""

_FROM_EACH_MARK_TO_EACH: Final = frozenset({"hunyuan"})
"""These parsers search from each mark for each other one to the end: a hundred marks in 4,000
characters take 0.2 s, 400 in 16,000 minutes.
"""

_BLANK: Final = re.compile(r"\s{400}")
"""Text with a call and white space that matches this is too dear to parse: patterns of some parsers
have several places for white space, and try all ways to share it out: 4,000 line feeds took them
minutes.
"""


def is_too_dear(text: str, marks: Iterable[str], tool_call_parser: str | None) -> bool:
    """Tells whether a parser of whole texts might take more than a moment for this one, on the loop
    that all requests share.

    Args:
        marks: of the parser's calls.
    """
    most = max((text.count(mark) for mark in marks), default=0)
    steps = most * len(text) * (most // 10 if tool_call_parser in _FROM_EACH_MARK_TO_EACH else 1)
    return steps > WHOLE_STEPS_MAX or (most > 0 and _BLANK.search(text) is not None)


class Snippets:
    """Snippets cuts text so that every mark is a snippet of its own and none of the others is long,
    however the text came.

    Held back is at most what may become a mark.
    """

    __slots__ = ("_beginnings", "_held", "_marks")

    def __init__(self, marks: tuple[str, ...]) -> None:
        self._marks = re.compile("(" + "|".join(map(re.escape, marks)) + ")") if marks else None
        self._beginnings = (
            re.compile("(?:" + "|".join(map(_beginnings, marks)) + r")\Z") if marks else None
        )
        self._held = ""

    def feed(self, text: str, *, last: bool) -> Iterator[str]:
        """Yields the snippets that are certain; with the last text all of them."""
        if self._marks is None or self._beginnings is None:
            yield from _short(text)
            return
        snippets = self._marks.split(self._held + text)
        self._held = ""
        if not last and (begun := self._beginnings.search(snippets[-1])):
            self._held, snippets[-1] = begun[0], snippets[-1][: begun.start()]
        for index, snippet in enumerate(snippets):
            yield from (snippet,) if index % 2 else _short(snippet)


def snippets_for(tool_call_parser: str | None, reasoning_parser: str | None) -> Snippets:
    """Returns what cuts text for these parsers."""
    return Snippets(
        (
            *_MARKS_OF_CALLS.get(tool_call_parser or "", ()),
            *_MARKS_OF_THINKING.get(reasoning_parser or "", ()),
        )
    )


def bite_chars(tool_call_parser: str | None, call_chars: int, silent_chars: int) -> int:
    """Returns how many characters to gather before the parser gets more of a call of which it has
    `call_chars`.

    Some parsers read the whole call again with every snippet: 0.5 ms a token behind 3,000 tokens,
    on the loop that all requests share. In bites that grow with the call it is 0.012. The others,
    and text outside of calls, wait for nothing.

    Args:
        tool_call_parser: None for SGLang's parser of forced calls in JSON.
        call_chars: of its arguments, so far.
        silent_chars: since anything was made of the text. Of what is no call yet, and may never
        become one, any parser may read all again.
    """
    if silent_chars > SILENT_CHARS_MAX:
        return max(call_chars, silent_chars) // _BITES
    return (
        call_chars // _BITES if tool_call_parser is None or tool_call_parser in _READ_AGAIN else 0
    )


def _short(text: str) -> Iterator[str]:
    if len(text) <= SNIPPET_CHARS:
        if text:
            yield text
        return
    for start in range(0, len(text), SNIPPET_CHARS):
        yield text[start : start + SNIPPET_CHARS]


def _beginnings(mark: str) -> str:
    """Returns a pattern of every beginning of `mark` but the whole of it."""
    pattern = re.escape(mark[-2])
    for char in reversed(mark[:-2]):
        pattern = f"{re.escape(char)}(?:{pattern})?"
    return pattern
