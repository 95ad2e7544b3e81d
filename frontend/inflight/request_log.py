"""Logs one line for each request when it has ended: what it was, where it ran, how long each of its
stages took and how it ended. Nothing of its prompt or answer is in it.
"""

import logging
from typing import Any

from frontend.inflight.diffusion import Diffusion
from frontend.observe.buckets import GapScale
from frontend.observe.request_record import RequestRecord

log = logging.getLogger("frontend.requests")


def make_logging_lean() -> None:
    """Leaves out of every record what no format of ours shows, which is half of what a line costs
    (Logging HOWTO, "Optimization").
    """
    for wish in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        setattr(logging, wish, False)  # the last one is there since Python 3.12


class RequestLine:
    """A RequestLine is the message of a request's log record: text for people as a string, and
    fields for whoever reads JSON.
    """

    __slots__ = ("_gap_scale", "_record")

    def __init__(self, record: RequestRecord, gap_scale: GapScale) -> None:
        self._record = record
        self._gap_scale = gap_scale

    def __str__(self) -> str:
        record = self._record
        head = f"{record.request_id} {record.path} model={record.model or '-'}"
        if trace_id := record.trace_id:
            head += f" trace={trace_id}"
        if not record.workers:
            return f"{head} took={record.took_s:.3f} {record.outcome}"
        head += f" worker={','.join(record.workers)}"
        if record.left:
            head += f" left={','.join(record.left)}"
        if record.prefill_worker:
            head += f" prefill_worker={record.prefill_worker}"
        if record.cost:
            head += f" cost={record.cost}"
        else:
            head += (
                f" prompt={record.prompt_tokens} cached={record.cached_tokens}"
                f" completion={record.output_tokens}"
            )
        head += f" moves={record.moves} queued={record.queued_s:.3f}"
        if record.first_token_s is not None and record.sent_s is not None:
            head += (
                f" prefill={record.first_token_s - record.sent_s:.3f}"
                f" first={record.first_token_s:.3f}"
            )
        if record.gaps:
            p50_s, p99_s = self._gap_scale.quantiles_s(record.gaps, 0.5, 0.99)
            head += f" gap_p50={p50_s:.4f} gap_p99={p99_s:.4f}"
        return f"{head} took={record.took_s:.3f} {record.outcome}"

    def fields(self) -> dict[str, Any]:
        """Returns what is known of the request, by name; times are in seconds, to a microsecond."""
        record = self._record
        fields: dict[str, Any] = {
            "message": "request",
            "request_id": record.request_id,
            "mesh_id": record.mesh_id,
            "endpoint": record.endpoint,
            "path": record.path,
            "model": record.model,
            "streams": record.streams,
            "outcome": record.outcome,
            "status": record.status,
            "error": record.error,
            "took_s": round(record.took_s, 6),
        }
        if trace_id := record.trace_id:
            fields |= {"trace_id": trace_id, "traceparent": record.traceparent}
        if record.prepared_s is not None:
            fields["tokenized_s"] = round(record.prepared_s, 6)
        if not record.workers or record.sent_s is None:
            return fields
        fields |= {
            "workers": record.workers,
            "left": record.left,
            "moves": record.moves,
            "prompt_tokens": record.prompt_tokens,
            "cached_tokens": record.cached_tokens,
            "output_tokens": record.output_tokens,
            "choices": record.choices,
            "queued_s": round(record.queued_s, 6),
            "sent_s": round(record.sent_s, 6),
        }
        if record.cost:
            fields["cost"] = record.cost
        if record.prefill_worker:
            fields["prefill_worker"] = record.prefill_worker
        if record.first_token_s is not None:
            fields["prefill_s"] = round(record.first_token_s - record.sent_s, 6)
            fields["first_token_s"] = round(record.first_token_s, 6)
        if record.gaps:
            p50_s, p99_s = self._gap_scale.quantiles_s(record.gaps, 0.5, 0.99)
            fields |= {"gap_p50_s": round(p50_s, 6), "gap_p99_s": round(p99_s, 6)}
        return fields


def log_request(record: RequestRecord, gap_scale: GapScale) -> None:
    """Logs a request's line at level info."""
    if log.isEnabledFor(logging.INFO):
        log.info(RequestLine(record, gap_scale))


def log_job(diffusion: Diffusion, outcome: str, *, took_s: float) -> None:
    """Logs the line of a job that has ended, which went on behind its request.

    Args:
        outcome: "completed", or an error's code.
    """
    log.info(
        "%s job model=%s worker=%s cost=%d moves=%d took=%.3f %s",
        diffusion.request.job_id,
        diffusion.request.model,
        diffusion.worker_id or "-",
        diffusion.request.cost,
        diffusion.moves,
        took_s,
        outcome,
    )
