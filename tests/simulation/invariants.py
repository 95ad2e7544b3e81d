"""What must hold in every world, at any moment and at the end.

Each says in its own words what is broken. What is looked at ten times a second puts together these
words only then.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from frontend.fleet.worker import Worker
from frontend.routing.answer_times import SHARE_MAX
from protocol.errors import (
    DeadlineExceeded,
    EngineFault,
    InvalidRequest,
    NoWorker,
    Overloaded,
    PoisonRequest,
    ShuttingDown,
    WorkerLost,
)
from tests.simulation.broken import Broken, hold
from tests.simulation.client import Asked, Client
from tests.simulation.drawing import check_received, drawings_left, waits_on_few
from tests.simulation.frontend import SimulatedFrontend
from tests.simulation.legs import check_bookings, left
from tests.simulation.loop import BEGIN_S
from tests.simulation.pictures import pictures_left
from tests.simulation.plan import HURRIED_S, Plan
from tests.simulation.worker import SimulatedWorker

DEADLINE_SLACK_S: Final = 0.01
"""A timer fires when it is due; what happens at that moment takes no virtual time."""

FOUND_S_MAX: Final = 6.5
"""DNS is asked every five seconds; then a worker connects, and is taken in."""


def check_frontend(frontend: SimulatedFrontend, clients: Mapping[int, Client]) -> None:
    """Bookings are of clients that still wait, within credit, and say what the loads say; queues
    are within their bound.
    """
    mesh, name = frontend.mesh, frontend.name
    booked: set[str] = set()
    for worker in mesh.registry.workers.values():
        _check_bookings(worker, name)
        booked |= worker.bookings.keys()
    if booked != mesh._placed.keys():
        raise Broken(f"{name} has placed {sorted(mesh._placed)} but booked {sorted(booked)}")
    following = mesh._sender.following._leaders
    if not following._leads.keys() | following._follows.keys() <= booked:
        raise Broken(f"{name}: some wait for others, or are waited for, and are not booked")
    check_bookings(frontend)
    for request_id in booked:
        number = frontend.asked_by[request_id]
        if number is None or clients[number].outcome.ended:
            raise Broken(f"{name} has booked {request_id}, though its request has ended")
    for entry in mesh.registry.entries():
        queue = entry.queue
        waiting = sum(map(len, queue._lanes.values()))
        if len(queue) != waiting:
            raise Broken(f"{name}: {len(queue)} are said to wait, and {waiting} do")
        shedding = queue._shedding
        if shedding is not None and shedding.patience._running < 0:
            raise Broken(f"{name}: fewer than no requests run")
    bytes_left = frontend.waiting_memory._bytes_left
    if bytes_left < 0:
        raise Broken(f"{name}: {-bytes_left} bytes too many wait")


def _check_bookings(worker: Worker, name: str) -> None:
    bookings, suspects, ranks = worker.bookings, worker.suspects, worker.ranks
    where = f"{name}, worker {worker.worker_id}"
    if len(bookings) > worker.hello.credit_requests:
        raise Broken(f"{where}: {len(bookings)} booked, {worker.hello.credit_requests} granted")
    if suspects:
        hold(len(suspects) <= 1, f"{where}: suspects {sorted(suspects)} meet")
        hold(
            suspects <= bookings.keys(),
            f"{where}: suspects that are not booked: {sorted(suspects)}",
        )
    own_requests = 0
    for rank in ranks:
        own_requests += rank.own_requests
        loads = (
            rank.own_requests,
            rank._own_prefill_tokens,
            rank._own_kv_tokens,
            rank.requests,
            rank.prefill_tokens,
            rank.kv_tokens,
        )
        if min(loads) < 0:
            raise Broken(f"{where}, rank {rank.dp_rank}: a negative load {loads}")
    if own_requests != sum(booking.counts for booking in bookings.values()):
        raise Broken(f"{where}: bookings and loads of ranks differ")


def check_outcome(client: Client, plan: Plan, blows: int) -> None:
    """The request ended once, in time, and with its whole answer or an error that it may have."""
    asked, outcome = client.asked, client.outcome
    name = f"request {asked.number}"
    if client.frontend.process.dead and not client.frontend.ended_in_peace:
        return
    if client.task is None:  # nobody was there
        return
    hold(outcome.ended, f"{name} has not ended")
    late_s = outcome.ended_at - outcome.deadline - client.frontend.process.frozen_s
    hold(late_s <= DEADLINE_SLACK_S, f"{name} ended {late_s:.3f} s behind its deadline")
    for index, recorded in enumerate(client.rules.choices):
        tokens, text = client.expected(index)
        hold(
            tokens.startswith(recorded.tokens),
            f"{name}, choice {index}: its tokens are not those of an undisturbed run",
        )
        if outcome.texts:
            hold(
                text.startswith(outcome.texts[index]),
                f"{name}, choice {index}: {outcome.texts[index]!r} is not of the text {text!r}",
            )
        if outcome.error is None and not outcome.left:
            hold(
                outcome.texts[index] == text,
                f"{name}, choice {index}: {outcome.texts[index]!r} is not the whole text {text!r}",
            )
            count = (
                len(tokens) // 4
                if recorded.stopped_after_tokens is None
                else recorded.stopped_after_tokens
            )
            hold(
                outcome.completion_tokens[index] == count,
                (
                    f"{name}, choice {index}: counted {outcome.completion_tokens[index]} tokens "
                    f"of {count}"
                ),
            )
            hold(
                outcome.reasons[index] in ("stop", "length"),
                f"{name}, choice {index} ended with {outcome.reasons[index]}",
            )
    if asked.drawn is not None:
        check_received(client, plan)
    moves_max = client.frontend.spec.settings.migration_limit
    hold(max(outcome.moves, default=0) <= moves_max, f"{name} was moved {outcome.moves} times")
    if outcome.error is None and not outcome.left and asked.drawn is None:
        hold(
            len(client.rules.choices) == asked.n,
            f"{name} has {len(client.rules.choices)} choices of {asked.n}",
        )
        hold(asked.number not in plan.poison, f"{name} is poison and was answered")
    frontend = client.frontend
    if (
        frontend.cuts_at is not None
        and frontend.process.frozen_s == 0
        and client.asked_at <= frontend.cuts_at
    ):
        hold(
            outcome.ended_at <= frontend.cuts_at + DEADLINE_SLACK_S,
            f"{name} was still open when {frontend.name} had cut off what was",
        )
    if outcome.error is not None:
        _check_error(client, plan, blows)


def _check_error(client: Client, plan: Plan, blows: int) -> None:
    asked, outcome, error = client.asked, client.outcome, client.outcome.error
    refused_by, left = sorted(outcome.refused_by), outcome.ranks_left
    what = (
        f"request {asked.number} failed with {error!r}; moved {outcome.moves}, refused by "
        f"{refused_by}, workers left {left}"
    )
    others = set(outcome.ranks_left) - outcome.refused_by
    match error:
        case DeadlineExceeded():
            ahead_s = outcome.deadline - outcome.ended_at
            begun = outcome.texts and all(outcome.texts)
            # a choice of which nothing has come, and no time for it
            early_s_max = 0.0 if begun else SHARE_MAX * asked.timeout_s
            hold(ahead_s <= early_s_max + DEADLINE_SLACK_S, f"{what}: {ahead_s:.3f} s too early")
            hold(
                not plan.strict or asked.timeout_s < HURRIED_S,
                f"{what}, though it had {asked.timeout_s} s",
            )
        case InvalidRequest():
            hold(asked.number in plan.damaged, f"{what}, and nothing is wrong with it")
        case EngineFault():
            hold(asked.number in plan.faulty, f"{what}, and no engine was told to")
        case PoisonRequest():
            hold(
                asked.number in plan.poison or blows >= 2 or not plan.strict,
                f"{what} though only {blows} workers died or seemed to",
            )
            hold(plan.kind != "poison" or _may_be_blamed(asked, plan), f"{what}, an innocent one")
        case NoWorker():
            hold(not others, f"{what}: there was a worker")
            hold(
                not plan.strict or (plan.kind == "pauses" and not outcome.moves) or _is_new(client),
                f"{what}: it was being served, or should have been",
            )
        case WorkerLost():
            limit = client.frontend.spec.settings.migration_limit
            hold(max(outcome.moves) >= limit or not others, f"{what}: it could have been moved")
            hold(
                max(outcome.moves) >= limit or not outcome.missed,
                f"{what}: {outcome.missed} may have been back",
            )
            hold(not plan.strict, f"{what}: more than was done to the workers")
        case Overloaded():
            may_be = not plan.strict or waits_on_few(asked, plan)
            hold(may_be, f"{what}: there was room for all")
        case ShuttingDown():
            leaving_since = client.frontend.leaving_since
            hold(
                leaving_since is not None and outcome.ended_at >= leaving_since,
                f"{what}: its frontend did not leave",
            )
            hold(
                not plan.strict or leaving_since is None or client.asked_at > leaving_since,
                f"{what}: there was time to answer it",
            )
        case _:
            hold(False, f"{what}: nothing of this kind was done to it")


def _is_new(client: Client) -> bool:
    """Whether its frontend took the place of another and may not have been found yet."""
    started_at = client.frontend.started_at
    return started_at > BEGIN_S and client.asked_at - started_at <= FOUND_S_MAX


def _may_be_blamed(asked: Asked, plan: Plan) -> bool:
    """It is poison itself, or may have met another's suspect on a worker: frontends do not tell
    each other of theirs, and what was poison is none to them at first if its pictures seemed not to
    be there yet (check_poison).
    """
    return (
        plan.sees
        or asked.number in plan.poison
        or any(plan.requests[number].frontend != asked.frontend for number in plan.poison)
    )


def check_poison(clients: Mapping[int, Client], plan: Plan, victims: Mapping[int, int]) -> None:
    """A request that kills workers kills two, and its twin none."""
    for number in plan.poison:
        asked = plan.requests[number]
        killed = victims.get(asked.sampling.seed or 0, 0)
        if asked.twin_of is None:
            most = (2 if plan.strict else 3) * (2 if plan.legs else 1)  # each leg kills one
            hold(
                killed <= most,
                f"request {number} came to {killed} workers, each of which died of it",
            )
            hold(
                not plan.strict or isinstance(clients[number].outcome.error, PoisonRequest),
                f"request {number} was not found to be poison",
            )
        elif isinstance(clients[asked.twin_of].outcome.error, PoisonRequest):
            hold(not killed, f"request {number}, twin of a proven one, came to {killed} workers")


def unsettled(frontends: Sequence[SimulatedFrontend], workers: Sequence[SimulatedWorker]) -> str:
    """What still runs, or does not serve, when nobody asks for anything any more; empty if all is
    at rest.
    """
    for worker in workers:
        if not worker.up or worker.departure.since is not None or not worker.links:
            return f"{worker.worker_id} is not up"
        if worker.intake._owners or not worker.engine_idle():
            return f"{worker.worker_id} runs {list(worker.intake._owners)}"
        if why := left(worker) or pictures_left(worker) or drawings_left(worker):
            return why
    for frontend in frontends:
        if not frontend.process.dead and (
            why := _unsettled_frontend(frontend, sorted(worker.worker_id for worker in workers))
        ):
            return f"{frontend.name}: {why}"
    return ""


def _unsettled_frontend(frontend: SimulatedFrontend, expected: list[str]) -> str:
    registry = frontend.mesh.registry
    serving = sorted(worker.worker_id for worker in registry.workers.values() if worker.takes_work)
    if serving != expected:
        return f"serves by {serving}, not {expected}"
    for entry in registry.entries():
        running = 0 if entry.queue._shedding is None else entry.queue._shedding.patience._running
        if len(entry.queue) or running:
            return f"{len(entry.queue)} wait in its queue, {running} count as running"
    if frontend.waiting_memory._bytes_left != frontend.spec.queue_bytes:
        return "its queue's memory was not given back"
    for worker in registry.workers.values():
        if worker.bookings or worker.aborts_owed or worker.suspects:
            return (
                f"{worker.worker_id} is booked {list(worker.bookings)}, owed "
                f"{worker.aborts_owed}, suspects {worker.suspects}"
            )
        for rank in worker.ranks:
            own = rank.own_requests, rank._own_prefill_tokens, rank._own_kv_tokens
            if own != (0, 0, 0):
                return f"{rank.key} has a load of {own}"
    return ""
