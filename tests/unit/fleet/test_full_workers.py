"""A model's entry knows which of its workers are full without asking them."""

from random import Random

import pytest

from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.fleet.worker import Worker
from frontend.routing.route import Placement
from tests.unit.mesh.dispatch_bench import Bench

STEPS = 400


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def asked(bench: Bench) -> set[str]:
    """Who is full, by asking all."""
    return {
        worker.worker_id
        for worker in bench.entry.worker_of.values()
        if not worker.has_room(alone=False)
    }


def change(bench: Bench, worker: Worker, random: Random, number: int) -> None:
    """One thing that befalls a worker."""
    befell = random.choice(("book", "book", "book", "release", "release", "sick", "leave"))
    if befell == "book" and worker.has_room(alone=False):
        stream = RequestStream(f"r{number}", Wakeup(bench.loop), Placement(worker.ranks[0]))
        worker.book(stream, worker.ranks[0], 10)
    elif befell == "release" and worker.bookings:
        worker.release(random.choice(list(worker.bookings)))
        worker.release("a request that it does not have")
    elif befell == "sick":
        worker.unhealthy = "" if worker.unhealthy else "its engine does not answer"
        bench.registry.refresh(worker)
    elif befell == "leave" and random.random() < 0.2:
        bench.registry.leave(worker)


@pytest.mark.parametrize("seed", range(20))
async def test_they_are_those_that_would_say_so(bench: Bench, seed: int) -> None:
    random, ever_full = Random(seed), False
    workers = [bench.join(worker_id, credit=2) for worker_id in "abc"]
    for number in range(STEPS):
        at = random.randrange(len(workers))
        worker = workers[at]  # one that left may still be told that its requests end
        change(bench, worker, random, number)
        assert bench.entry.full == asked(bench)
        ever_full = ever_full or bool(bench.entry.full)
        if worker not in bench.entry.workers and random.random() < 0.5:
            fresh = bench.join(worker.worker_id, credit=2)
            for request_id in list(worker.bookings):
                worker.release(request_id)
                assert bench.entry.full == asked(bench)
            workers[at] = fresh
    assert ever_full


async def test_who_is_full_gets_nothing_until_a_request_of_it_ends(bench: Bench) -> None:
    one, two = bench.join("one", credit=1), bench.join("two", credit=1)
    placed = [await bench.place() for _ in range(2)]
    assert bench.entry.full == {"one", "two"}
    (ended,) = (each for each in placed if each.request_id in two.bookings)
    bench.dispatch.abort(ended)
    assert bench.entry.full == {"one"}
    await bench.place()
    assert (len(one.bookings), len(two.bookings)) == (1, 1)
