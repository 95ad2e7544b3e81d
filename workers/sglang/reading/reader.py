"""One request's tokens are turned into parts: text, stop strings, parsers.

The worker's counterpart of the frontend's `text/output/`.

Whether somebody reads the answer as it comes decides when the parts are told, and nothing else.
"""

from collections.abc import Sequence
from typing import Protocol

from msgspec.structs import replace

from protocol.generation import Finished, Part, ToolCall
from protocol.text.detokenizer import Detokenizer
from protocol.text.stops import StopMatcher


class Message(Protocol):
    """A Message is the answer that text is made into."""

    def feed(self, text: str) -> list[Part]:
        """Takes more text and returns the parts that are certain."""
        ...

    def end(self, text: str, finished: Finished) -> list[Part]:
        """Takes the last text, and tells what was held back."""
        ...


class Answering(Protocol):
    """An Answering tells the hidden thinking from the answer that is behind it."""

    def chars_in(self, text: str) -> int:
        """Returns how many of the next text's last characters are of the answer: 0 while it thinks.

        Not asked again once there are some.
        """
        ...


class Reader:
    """A Reader reads the tokens of one request; what it makes of them does not depend on how they
    are batched.

    Args:
        text: of the tokens.
        message: what the text is made into.
        stops: strings that end the answer.
        patterns: regular expressions that end it behind the token in which they match.
        answering: where the answer begins, for stop strings mean nothing in hidden thinking; None:
        with the first token.
        include_stop: show what ended the answer, string or token.
        min_tokens: stop strings count only in the text of the tokens behind this many.
        kept_stop_ids: stop tokens that are part of a call.
        hidden_stop_ids: stop tokens that are not to be shown even so.
        one_call: end the answer where a second call begins.
        whole: tell all parts at the end, those of one kind joined.
    Attributes:
        stopped_after_tokens: tokens up to and including the one that completed a stop string, or
        began a call too many, without those that were replayed; None while none did.
        matched_stop: that string, or the pattern that matched.
    """

    __slots__ = (
        "_answering", "_held", "_hidden_stop_ids", "_include_stop", "_kept_stop_ids", "_matcher",
        "_message", "_min_tokens", "_one_call",
        "_patterns", "_stops", "_text", "_tokens_seen", "matched_stop", "stopped_after_tokens",
    )  # fmt: skip

    def __init__(
        self,
        text: Detokenizer,
        message: Message,
        *,
        stops: Sequence[str],
        patterns: Sequence[str] = (),
        include_stop: bool,
        min_tokens: int,
        kept_stop_ids: frozenset[int],
        hidden_stop_ids: frozenset[int] = frozenset(),
        answering: Answering | None = None,
        one_call: bool = False,
        whole: bool = False,
    ) -> None:
        self.stopped_after_tokens: int | None = None
        self.matched_stop: str | None = None
        self._text = text
        self._message = message
        self._stops, self._patterns, self._include_stop = stops, patterns, include_stop
        self._matcher = self._new_matcher()
        self._min_tokens = min_tokens
        self._kept_stop_ids = kept_stop_ids
        self._hidden_stop_ids = hidden_stop_ids
        self._answering = answering
        self._tokens_seen = 0
        self._one_call = one_call
        self._held: list[Part] | None = [] if whole else None

    def replay(self, token_ids: Sequence[int]) -> None:
        """Reads what was sent already: nothing of it that was told comes again."""
        for token_id in token_ids:
            text = self._text.feed((token_id,))
            if self._matcher is not None:
                # What is shown ended no answer: a stop in it came before `min_tokens`, which counts
                # from here on, allowed one.
                text, stop = self._search(self._matcher, text)
                if stop is not None:
                    self._matcher = self._new_matcher()
            parts = self._message.feed(text)
            if self._held is not None:
                self._held += parts

    def feed(self, token_ids: Sequence[int]) -> list[Part]:
        """Takes the next tokens and returns what they make certain.

        Returns:
            What is certain by them; of a whole answer nothing before its end. After a stop string
            there is nothing.
        """
        parts = self._read(token_ids)
        if self._held is None:
            return parts
        self._held += parts
        return [] if self.stopped_after_tokens is None else self._released()

    def _read(self, token_ids: Sequence[int]) -> list[Part]:
        parts: list[Part] = []
        for token_id in token_ids:
            if self.stopped_after_tokens is not None:
                break
            self._tokens_seen += 1
            text, stopped = self._watch(self._text.feed((token_id,)))
            gained = (
                self._message.end(text, stopped)
                if stopped is not None
                else self._message.feed(text)
            )
            if self._one_call and stopped is None and _calls_again(gained):
                # SGLang binds few formats to one call, so the answer ends where the second begins.
                self.stopped_after_tokens = self._tokens_seen
                gained += self._message.end("", Finished("stop", 0, self._tokens_seen))
            parts += gained
        return self._allowed(parts)

    def end(self, token_ids: Sequence[int], finished: Finished) -> list[Part]:
        """Takes the last tokens, a stop token included, which is shown only where it is asked for,
        and tells all that was held back.
        """
        matched = finished.matched_token_id
        if self._include_stop and matched not in self._hidden_stop_ids:
            matched = None
        kept = token_ids[-1:] if matched in self._kept_stop_ids else ()
        parts = self._read(token_ids if matched is None else token_ids[:-1])
        if self.stopped_after_tokens is None:
            self._tokens_seen += len(kept)
            # An unfinished character can still complete a stop, as U+FFFD.
            text, stopped = self._watch(self._text.feed(kept) + self._text.flush())
            if stopped is None and self._matcher is not None:
                text += self._matcher.flush()
            parts += self._message.end(text, stopped or finished)
        parts = self._allowed(parts)
        if self._held is None:
            return parts
        self._held += parts
        return self._released()

    def _released(self) -> list[Part]:
        parts, self._held = _joined(self._held or []), []
        return parts

    def _allowed(self, parts: list[Part]) -> list[Part]:
        return [part for part in parts if not _calls_again([part])] if self._one_call else parts

    def _new_matcher(self) -> StopMatcher | None:
        return (
            StopMatcher(self._stops, self._include_stop, self._patterns)
            if self._stops or self._patterns
            else None
        )

    def _watch(self, text: str) -> tuple[str, Finished | None]:
        """Returns the text before a stop string or what may become one, and the end that it
        makes.
        """
        if self._matcher is None:
            return text, None
        if self._tokens_seen <= self._min_tokens:
            self._note_answer(text)
            return text, None
        text, stop = self._search(self._matcher, text)
        if stop is None:
            return text, None
        self.stopped_after_tokens, self.matched_stop = self._tokens_seen, stop
        return text, Finished("stop", 0, self._tokens_seen, matched_stop=stop)

    def _search(self, matcher: StopMatcher, text: str) -> tuple[str, str | None]:
        """Looks for stops where the text is of the answer; returns the text without what is held
        back, and the stop found.
        """
        thought_chars = len(text) - self._note_answer(text)
        answer, stop = matcher.feed(text[thought_chars:])
        return text[:thought_chars] + answer, stop

    def _note_answer(self, text: str) -> int:
        """Returns how many of the text's last characters are of the answer."""
        if self._answering is None:
            return len(text)
        chars = self._answering.chars_in(text)
        if chars:
            self._answering = None
        return chars


def _joined(parts: Sequence[Part]) -> list[Part]:
    """Returns the same parts with neighbours of one kind, and pieces of one call, as one part."""
    runs: list[tuple[Part, list[str]]] = []
    for part in parts:
        last = runs[-1][0] if runs else None
        text = part.arguments if isinstance(part, ToolCall) else part.text
        if type(last) is type(part) and not (
            isinstance(last, ToolCall) and isinstance(part, ToolCall) and last.index != part.index
        ):
            runs[-1][1].append(text)
        else:
            runs.append((part, [text]))
    return [
        replace(part, arguments="".join(texts))
        if isinstance(part, ToolCall)
        else replace(part, text="".join(texts))
        for part, texts in runs
    ]


def _calls_again(parts: Sequence[Part]) -> bool:
    """Tells whether a call beyond the first is among the parts."""
    return any(isinstance(part, ToolCall) and part.index > 0 for part in parts)
