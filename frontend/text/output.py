"""Tokens of one choice → text that may be shown: detokenized, stop strings cut, the stop token left out."""

from msgspec import Struct

from frontend.text.detokenizer import Detokenizer
from frontend.text.stops import StopMatcher
from protocol.replies import Finished
from protocol.tokens import unpack_tokens


class OutputRules(Struct, frozen=True):
    """What a request says about its output text."""

    stops: tuple[str, ...] = ()
    include_stop: bool = False
    """Show the stop string that ended the text."""
    skip_special_tokens: bool = True
    min_tokens: int = 0
    """Stop strings count only after this many tokens."""


class ChoiceText:
    """The text of one choice, in pieces. Small: one per running choice."""

    __slots__ = ("_detokenizer", "_matcher", "_unwatched_tokens")

    def __init__(self, detokenizer: Detokenizer, rules: OutputRules) -> None:
        self._detokenizer = detokenizer
        self._matcher = StopMatcher(rules.stops, rules.include_stop) if rules.stops else None
        self._unwatched_tokens = rules.min_tokens

    def add(self, packed: bytes, finished: Finished | None) -> tuple[str, bool]:
        """Take the next tokens, packed u32; `finished` comes with the last of them.

        Returns:
            The text that is safe to show, and whether a stop string ended the choice.
        """
        token_ids = unpack_tokens(packed)
        if finished is not None and finished.matched_token_id is not None:
            token_ids = token_ids[:-1]
        text = self._detokenizer.feed(token_ids)
        if finished is not None:
            text += self._detokenizer.flush()
        if self._matcher is None:
            return text, False
        if self._unwatched_tokens > 0:
            self._unwatched_tokens -= len(token_ids)
            return text, False
        text, matched = self._matcher.feed(text)
        if matched is not None:
            return text, True
        return (text + self._matcher.flush() if finished is not None else text), False
