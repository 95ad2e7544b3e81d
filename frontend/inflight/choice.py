"""Follows one of the completions that a request asked for, over all the workers that it runs on."""

from typing import Final, Literal

from frontend.fleet.stream import RequestStream
from frontend.inflight.migration import Trail
from frontend.routing.route import RouteRequest
from frontend.text.output.choice_text import ChoiceText, OutputRules
from frontend.text.output.gain import Gain
from protocol.errors import MeshError
from protocol.generation import CachedBelow, Generate
from protocol.tokens import TOKEN_ID_BYTES, count_tokens

LEGS_MAX: Final = 16
"""Bounds the legs that are remembered of a choice: one that full workers refuse again and again has
four a second.
"""

FinishReason = Literal["stop", "length", "tool_calls", "abort"]


class Choice:
    """A Choice is one of the completions that a request asked for.

    Attributes:
        request, route: what the client asked for, however often it moved since.
        stream: its present leg.
    """

    __slots__ = (
        "_below",
        "_cached",
        "_calls",
        "_leg",
        "_plain",
        "_rules",
        "_text",
        "_told",
        "earlier_legs",
        "finish_reason",
        "index",
        "request",
        "route",
        "stream",
        "trail",
    )

    def __init__(
        self,
        index: int,
        request: Generate,
        route: RouteRequest,
        stream: RequestStream,
        text: ChoiceText | None,
        *,
        rules: OutputRules,
    ) -> None:
        self.index = index
        self.request = request
        self.route = route
        self.stream = stream
        self.trail = Trail()
        self.earlier_legs: tuple[RequestStream, ...] = ()
        """Holds the first leg, and the last ones that ended before it did."""
        self.finish_reason: FinishReason | None = None
        """Says why the choice ended; None while it runs."""
        self._leg = bytearray()
        """Holds what this leg generated, packed u32, for the next one to go on from: four bytes a
        token.
        """
        self._told: MeshError | None = None
        self._cached = 0
        self._below: CachedBelow | None = None
        self._calls = False
        """Says that it has called a tool."""
        self._rules = rules
        self._text = text
        """Makes text of its tokens; None where the worker reads the text."""
        self._plain = None if rules.stops or rules.patterns or rules.shows_nothing else text
        """Is the same where no text ends the answer."""

    @property
    def completion_tokens(self) -> int:
        """Counts the tokens generated, those of the stop included; what the engine made behind a
        stop string, before it was told, is not.
        """
        if self._rules.shows_nothing:
            return 0
        if self._stopped_after_tokens is not None:
            return self._stopped_after_tokens
        finished = self.stream.finished
        leg_tokens = (
            finished.completion_tokens if finished is not None else self.stream.tokens_received
        )
        return count_tokens(self.trail.output) + leg_tokens

    @property
    def cached_tokens(self) -> int:
        """Counts the prompt tokens the engine found in its cache; known from the first token on.

        After a move: the last engine, of the client's own prompt.
        """
        finished = self.stream.finished
        if finished is None:
            return self._cached if self.route.grows else min(self._cached, self.route.prompt_tokens)
        bound = self.prompt_tokens_told if self.route.grows else self.route.prompt_tokens
        return min(finished.cached_tokens, bound)

    @property
    def cached_below(self) -> CachedBelow | None:
        """Returns where those tokens were; None where all were in the device's memory."""
        finished = self.stream.finished
        return self._below if finished is None else finished.cached_below

    @property
    def prompt_tokens_told(self) -> int:
        """Counts the tokens of the client's prompt as the engine does; 0 before the end."""
        finished = self.stream.finished
        return 0 if finished is None else finished.prompt_tokens - count_tokens(self.trail.output)

    @property
    def reasoning_tokens(self) -> int:
        """Counts those of the choice's tokens that are thinking; known at the end."""
        return self.stream.finished.reasoning_tokens if self.stream.finished is not None else 0

    @property
    def matched_stop(self) -> str | None:
        """Returns the stop string, or pattern, that ended the choice; None where none did."""
        if self._text is not None and self._text.matched_stop is not None:
            return self._text.matched_stop
        return self.stream.finished.matched_stop if self.stream.finished is not None else None

    @property
    def output(self) -> bytes:
        """Returns the tokens generated so far, packed u32: those that `completion_tokens`
        counts.
        """
        return self.output_behind(0)

    def output_behind(self, start: int) -> bytes:
        """Returns `output` without its first `start` bytes; costs as much as it returns, unless
        they end before this leg.
        """
        end, earlier = self.completion_tokens * TOKEN_ID_BYTES, self.trail.output
        if start < len(earlier):
            return (earlier + self._leg)[start:end]
        return bytes(self._leg[start - len(earlier) : max(0, end - len(earlier))])

    def advance(self) -> Gain:
        """Returns what was gained since the last call; sets `finish_reason` when it was the
        last.
        """
        stream = self.stream
        finished, packed = stream.finished, stream.take()
        extras = () if stream.extras is None else stream.take_extras()
        self._leg += packed
        if self._plain is not None and finished is None and not extras:
            return Gain(self._plain.add(packed, None))
        gain = Gain()
        if self._text is not None:
            gain.text = self._text.add(packed, finished)
        if extras:
            gain.take(packed, extras)
            for extra in extras:
                if extra.cached_tokens is not None:
                    self._cached, self._below = extra.cached_tokens, extra.cached_below
            self._calls = self._calls or bool(gain.calls)
        if self._stopped_after_tokens is not None:
            self.finish_reason = "stop"
        elif finished is not None:
            self.finish_reason = (
                "tool_calls" if self._calls and finished.reason == "stop" else finished.reason
            )
        if self._rules.shows_nothing:
            return self._silenced(gain)
        if gain.token_ids and self._stopped_after_tokens is not None:
            self._cut_scores(gain)
        return gain

    def _silenced(self, gain: Gain) -> Gain:
        if self.finish_reason == "stop":
            self.finish_reason = "length"
        return Gain(prompt_logprobs=gain.prompt_logprobs)

    def _cut_scores(self, gain: Gain) -> None:
        """Cuts what the engine made behind a stop string before it was told of it. A token that
        ends an answer by itself stays, shown or not: SGLang's server and vLLM's have its score, and
        whoever sums scores or pairs them with tokens counts on it.
        """
        start = (
            count_tokens(self.trail.output)
            + len(self._leg) // TOKEN_ID_BYTES
            - count_tokens(gain.token_ids)
        )
        told = max(0, self.completion_tokens - start)
        gain.token_ids = gain.token_ids[: told * TOKEN_ID_BYTES]

    @property
    def _stopped_after_tokens(self) -> int | None:
        return None if self._text is None else self._text.stopped_after_tokens

    def take_loss(self) -> MeshError | None:
        """Returns, once, why the leg ended before the choice did; None where it did not."""
        if self.finish_reason is not None or self.stream.error is self._told:
            return None
        self._told = self.stream.error
        return self._told

    def go_on(self, stream: RequestStream) -> None:
        """Takes its next leg."""
        legs = (*self.earlier_legs, self.stream)
        self.earlier_legs = legs if len(legs) <= LEGS_MAX else (legs[0], *legs[2:])
        self.stream, self._told = stream, None

    def take_leg(self) -> bytes:
        """Returns, once, what the leg that ended has generated, packed u32."""
        leg = bytes(self._leg)
        self._leg.clear()
        return leg
