"""Makes one snapshot of those of several processes of a port. Pure."""

from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from msgspec.structs import replace

from frontend.status.recent import ERRORS_MAX
from frontend.status.slowest import SHOWN_MAX
from frontend.status.snapshot import (
    ErrorStatus,
    ModelStatus,
    Point,
    RankStatus,
    RequestStatus,
    Snapshot,
    WorkerStatus,
)

ShownT = TypeVar("ShownT")


def merged(own: Snapshot, others: Sequence[Snapshot]) -> Snapshot:
    """Returns the picture of all processes: what each has a part of adds up, and what all know is
    told by the one that was asked.
    """
    if not others:
        return own
    all_of_them = [own, *others]
    return replace(
        own,
        draining=any(each.draining for each in all_of_them),
        reasons=list(dict.fromkeys(reason for each in all_of_them for reason in each.reasons)),
        models=_each(own.models, [each.models for each in others], _model_key, _model),
        workers=_each(own.workers, [each.workers for each in others], _worker_key, _worker),
        errors=_errors(error for each in all_of_them for error in each.errors),
        slowest=_slowest(request for each in all_of_them for request in each.slowest),
        history=_history(own.history, [each.history for each in others], own.step_s),
    )


def _each(
    own: list[ShownT],
    others: Iterable[list[ShownT]],
    key: Callable[[ShownT], object],
    add: Callable[[ShownT, ShownT], ShownT],
) -> list[ShownT]:
    shown = {key(each): each for each in own}
    for theirs in others:
        for each in theirs:
            known = shown.get(key(each))
            if known is not None:
                shown[key(each)] = add(known, each)
    return list(shown.values())


def _model_key(model: ModelStatus) -> object:
    return model.name, model.context_length, *model.adapters


def _model(one: ModelStatus, other: ModelStatus) -> ModelStatus:
    return replace(
        one,
        waiting=one.waiting + other.waiting,
        tokens_per_s=one.tokens_per_s + other.tokens_per_s,
    )


def _worker_key(worker: WorkerStatus) -> object:
    return worker.worker_id


def _worker(one: WorkerStatus, other: WorkerStatus) -> WorkerStatus:
    return replace(one, ranks=_each(one.ranks, [other.ranks], lambda rank: rank.dp_rank, _rank))


def _rank(one: RankStatus, other: RankStatus) -> RankStatus:
    return replace(
        one,
        booked=one.booked + other.booked,
        hit_rate=_mean([(one.hit_rate, 1.0), (other.hit_rate, 1.0)], digits=4),
    )


def _errors(errors: Iterable[ErrorStatus]) -> list[ErrorStatus]:
    alike: dict[tuple[str, str, str], ErrorStatus] = {}
    for error in errors:
        key = error.code, error.endpoint, error.model
        known = alike.get(key)
        if known is not None:
            latest = max(known, error, key=lambda each: each.last_unix_s)
            first = min(known.first_unix_s, error.first_unix_s)
            error = replace(latest, count=known.count + error.count, first_unix_s=first)  # noqa: PLW2901 - the sum takes its place
        alike[key] = error
    return sorted(alike.values(), key=lambda each: -each.last_unix_s)[:ERRORS_MAX]


def _slowest(requests: Iterable[RequestStatus]) -> list[RequestStatus]:
    return sorted(requests, key=lambda each: -each.took_s)[:SHOWN_MAX]


def _history(own: list[Point], others: Sequence[list[Point]], step_s: float) -> list[Point]:
    """Returns our points, each with those of the others that are nearest in time."""
    return [
        _point([point, *(near for theirs in others if (near := _nearest(theirs, point, step_s)))])
        for point in own
    ]


def _nearest(points: list[Point], to: Point, step_s: float) -> Point | None:
    """Returns the nearest point; None if it is further than the last of a process may be that has
    yet to make its next one.
    """
    at = bisect(points, to.at_unix_s, key=lambda point: point.at_unix_s)
    near = min(
        points[max(0, at - 1) : at + 1],
        key=lambda point: abs(point.at_unix_s - to.at_unix_s),
        default=None,
    )
    if near is None or abs(near.at_unix_s - to.at_unix_s) > 1.5 * step_s:
        return None
    return near


def _point(points: Sequence[Point]) -> Point:
    """Returns what several processes did in one second.

    A median of all cannot be had of medians: of times it is the mean of them, weighted with what
    was done.
    """
    slowest = [point.ttft_ms_max for point in points if point.ttft_ms_max is not None]
    held = [point.kv_share for point in points if point.kv_share is not None]
    return Point(
        at_unix_s=points[0].at_unix_s,
        requests=round(sum(point.requests for point in points), 2),
        failed=round(sum(point.failed for point in points), 2),
        tokens=round(sum(point.tokens for point in points), 1),
        ttft_ms=_mean([(point.ttft_ms, point.requests) for point in points]),
        ttft_ms_max=max(slowest, default=None),
        inter_token_ms=_mean([(point.inter_token_ms, point.tokens) for point in points]),
        running=sum(point.running for point in points),
        waiting=sum(point.waiting for point in points),
        kv_share=max(held, default=None),
        hit_rate=_mean([(point.hit_rate, point.requests) for point in points], digits=4),
    )


def _mean(weighted: Iterable[tuple[float | None, float]], *, digits: int = 2) -> float | None:
    known = [(value, weight) for value, weight in weighted if value is not None]
    if not known:
        return None
    total = sum(weight for _, weight in known)
    if total <= 0:
        return round(sum(value for value, _ in known) / len(known), digits)
    return round(sum(value * weight for value, weight in known) / total, digits)
