"""Holds what is known of one request once it has ended: the one account from which metrics, the log
line, the status page and spans are made.
"""

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from protocol.trace_context import read_trace_context

NO_GAPS: Final[Mapping[int, int]] = {}


class RequestRecord(Struct, kw_only=True, gc=False):
    """A RequestRecord says what a request was, where it ran, when each of its stages was over and
    how it ended. It holds nothing of its prompt or answer.

    Times are seconds since it came; None where it did not get so far.

    Attributes:
        request_id: as its client was told.
        mesh_id: its name on the mesh, 32 hex digits.
        endpoint: the kind of request, by the reference product's name where it has one.
        runs_model: the endpoint has a model compute something.
        model: one of ours, or empty: never what a client made up.
        came_unix_s: the wall clock's time.
        took_s: until its answer had ended.
        status: of its answer in HTTP; 499 where its client left.
        error: the code of the error that its client was told, or would have been; else empty.
        message: of that error.
        finish: why its choices ended.
        workers: those that it ended on, each as WORKER/RANK.
        left: those that it ran on before it was moved.
        prefill_worker: where its prompt was computed, if elsewhere.
        cost: of pictures and videos, in their own unit.
        prepared_s: until its prompt was tokenized.
        queued_s: of that it waited for a rank with room.
        sent_s: until it was sent to a worker.
        first_token_s: until its first token came; None, as those below, of an answer that came from
        its worker as a whole, since it was not to be streamed.
        last_token_s: until its last one did.
        gaps: between its tokens, counted by the bounds of a GapScale.
        gaps_s: the sum of these gaps.
        moves: times that it was moved since its worker was lost.
    """

    request_id: str
    mesh_id: str
    endpoint: str
    path: str
    runs_model: bool
    model: str
    streams: bool
    traceparent: str | None
    came_unix_s: float
    took_s: float
    status: int
    error: str
    message: str
    finish: str = ""
    workers: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    prefill_worker: str = ""
    choices: int = 0
    cost: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    prepared_s: float | None = None
    queued_s: float = 0.0
    sent_s: float | None = None
    first_token_s: float | None = None
    last_token_s: float | None = None
    gaps: Mapping[int, int] = NO_GAPS
    gaps_s: float = 0.0
    moves: int = 0

    @property
    def trace_id(self) -> str:
        """Returns the id of the trace that it is part of, 32 hex digits; empty if it is of none."""
        if self.traceparent is None:
            return ""
        context = read_trace_context(self.traceparent)
        return "" if context is None else f"{context.trace_id:032x}"

    @property
    def outcome(self) -> str:
        """Says in one word how it ended: an error's code, or why its choices did, or ok."""
        return self.error or self.finish or "ok"
