"""Logs one line for each request when it has ended: what it was, where it ran, what it took and how
it ended.
"""

import logging
from typing import Final

from frontend.inflight.choice import Choice
from frontend.inflight.diffusion import Diffusion
from frontend.inflight.generation import Generation
from protocol.errors import MeshError

log = logging.getLogger("frontend.requests")

_WORKERS_MAX: Final = 4
"""Bounds the workers named of a request with many choices."""


def make_logging_lean() -> None:
    """Leaves out of every record what no format of ours shows, which is half of what a line costs
    (Logging HOWTO, "Optimization").
    """
    for wish in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing", "logAsyncioTasks"):
        setattr(logging, wish, False)  # the last one is there since Python 3.12


def log_request(
    request_id: str,
    path: str,
    model: str,
    work: Generation | Diffusion | None,
    error: MeshError | None,
    *,
    began_at: float,
    ended_at: float,
) -> None:
    """Logs a request's line at level info.

    Args:
        request_id: as its client was told.
        model: one of ours, or empty.
        work: what ran for it on workers.
        began_at, ended_at: on the loop's clock.
    """
    if not log.isEnabledFor(logging.INFO):
        return
    took_s = ended_at - began_at
    if isinstance(work, Diffusion):
        log.info(
            "%s %s model=%s %s took=%.3f %s",
            request_id,
            path,
            model or "-",
            _course(work),
            took_s,
            error.code if error else "ok",
        )
        return
    if work is None or not work.choices:
        log.info(
            "%s %s model=%s took=%.3f %s",
            request_id,
            path,
            model or "-",
            took_s,
            error.code if error else "ok",
        )
        return
    choices = work.choices
    outcome = (
        error.code
        if error
        else ",".join({choice.finish_reason or "unfinished": None for choice in choices})
    )
    first = choices[0].stream
    log.info(
        (
            "%s %s model=%s worker=%s prompt=%d cached=%d completion=%d moves=%d queued=%.3f "
            "first=%.3f took=%.3f %s"
        ),
        request_id,
        path,
        model or "-",
        _workers(choices),
        choices[0].route.prompt_tokens,
        choices[0].cached_tokens,
        sum([choice.completion_tokens for choice in choices]),
        sum([choice.trail.moves for choice in choices]),
        first.queue_s,
        first.begun_at - began_at if first.begun_at else took_s,
        took_s,
        outcome,
    )


def log_job(diffusion: Diffusion, outcome: str, *, took_s: float) -> None:
    """Logs the line of a job that has ended, which went on behind its request.

    Args:
        outcome: "completed", or an error's code.
    """
    log.info(
        "%s job model=%s %s took=%.3f %s",
        diffusion.request.job_id,
        diffusion.request.model,
        _course(diffusion),
        took_s,
        outcome,
    )


def _course(diffusion: Diffusion) -> str:
    worker, cost = diffusion.worker_id or "-", diffusion.request.cost
    return f"worker={worker} cost={cost} moves={diffusion.moves}"


def _workers(choices: list[Choice]) -> str:
    keys = dict.fromkeys([choice.stream.placement.rank.key for choice in choices])
    named = [f"{worker_id}/{dp_rank}" for worker_id, dp_rank in list(keys)[:_WORKERS_MAX]]
    return ",".join(named) + (",…" if len(keys) > _WORKERS_MAX else "")
