"""Keeps the promise made of an answer: that its JSON, and the arguments of its calls, conform to
the client's schemas.
"""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from frontend.conforming.validator import Validator
from frontend.inflight.choice import Choice
from frontend.text.output.gain import Answer, Gain
from protocol.errors import NotConforming

log = logging.getLogger(__name__)

_encode: Final = msgspec.json.Encoder().encode


class Promise:
    """A Promise follows the choices of one request and holds those to it that ended by themselves;
    one that was cut off conforms to nothing.

    Args:
        schema: JSON text, of what is said without a call; None: anything.
        calls: function → schema of its arguments; those of others may be anything.
        forced: a call had to come, so that a grammar bound its arguments. Formats of calls that may
        come are not all bound, and whoever runs a call answers wrong arguments: those are only
        logged.
        streams: what does not conform was shown already, and is only logged.
    """

    def __init__(
        self,
        validator: Validator,
        *,
        schema: str | None,
        calls: Mapping[str, Any],
        forced: bool,
        streams: bool,
        request_id: str,
    ) -> None:
        self._validator = validator
        self._schema = schema
        self._calls = calls
        self._forced = forced
        self._streams = streams
        self._request_id = request_id
        self._answers: dict[int, Answer] = {}

    async def follow(self, moved: Iterable[tuple[Choice, Gain]]) -> None:
        """Takes what choices have gained, and checks those that have ended.

        Raises:
            NotConforming: one does not conform, and nothing of it was shown.
        """
        for choice, gain in moved:
            self._answers.setdefault(choice.index, Answer()).add(gain)
            if choice.finish_reason is not None:
                answer = self._answers.pop(choice.index)
                if not _ended_by_itself(choice):
                    continue
                if self._streams:
                    self._validator.soon(self._check(answer))
                else:
                    await self._check(answer)

    async def _check(self, answer: Answer) -> None:
        for schema, text, what in self._held(answer):
            breach = await self._validator.breach(schema, text)
            if breach is None:
                continue
            log.warning(
                "request %s: the answer does not conform to its schema: %s %s",
                self._request_id,
                what,
                breach,
            )
            if not self._streams and (self._forced or not answer.calls):
                raise NotConforming(
                    f"The model's answer does not conform to its schema: {what} {breach}."
                )

    def _held(self, answer: Answer) -> list[tuple[str, str, str]]:
        """Returns schema, text and name of what is held to a schema."""
        calls = answer.calls
        held = [
            (_encode(self._calls[call.name]).decode(), call.arguments, f"the call of {call.name!r}")
            for call in calls
            if call.name in self._calls
        ]
        if self._schema is not None and not calls:
            held.append((self._schema, answer.text, "the text"))
        return held


def _ended_by_itself(choice: Choice) -> bool:
    """Returns whether the model ended it, and not a bound, a stop string or token of the client's,
    or its wish.
    """
    if choice.finish_reason not in ("stop", "tool_calls") or choice.matched_stop is not None:
        return False
    finished = choice.stream.finished
    return (
        finished is not None
        and finished.matched_token_id not in choice.request.sampling.stop_token_ids
    )
