"""Which worker encodes the pictures of a request: able, not full, the same one for the same picture
as long as it is not much busier than others.
"""

from collections import Counter

import pytest
from msgspec.structs import replace

from frontend.fleet.encoders import AHEAD_MAX, ENCODE, PROCESS, UNREACHED_S
from frontend.fleet.worker import Worker
from protocol.media import MediaTaken, PromptMedia
from tests.unit.mesh.dispatch_bench import CAPACITY, Bench

TAKEN = MediaTaken(9, encoder="x")


@pytest.fixture
async def bench() -> Bench:
    return Bench()


def chosen(bench: Bench, digest: int = 1, taken: MediaTaken | None = TAKEN, **how: object) -> str:
    avoid: frozenset[str] = how.get("avoid", frozenset())  # type: ignore[assignment]
    model = str(how.get("model", "m"))
    encoders = bench.registry.encoders
    worker = encoders.choose(model, taken, digest, avoid, alone=bool(how.get("alone")))
    return "" if worker is None else worker.worker_id


async def load(bench: Bench, encoder: Worker, requests: int, *, alone: bool = False) -> None:
    """Have a worker encode for so many requests."""
    others = [each for each in bench.registry.workers.values() if each is not encoder]
    avoid = frozenset(each.worker_id for each in others if each.worker_id[0] == "e")
    for _ in range(requests):
        picture = PromptMedia("image", b"x", 1, tokens=2)
        await bench.place(media=[picture], avoid=avoid, alone=alone)


async def test_a_picture_is_always_encoded_by_the_same_one_and_few_move(bench: Bench) -> None:
    for name in ("e1", "e2", "e3"):
        bench.join(name, ENCODE, encoder="x")
    before = {digest: chosen(bench, digest) for digest in range(1, 301)}
    assert before == {digest: chosen(bench, digest) for digest in range(1, 301)}
    assert min(Counter(before.values()).values()) > 60
    bench.join("e4", ENCODE, encoder="x")
    after = {digest: chosen(bench, digest) for digest in before}
    assert {after[digest] for digest in before if after[digest] != before[digest]} == {"e4"}
    assert 40 < list(after.values()).count("e4") < 120


async def test_one_that_is_much_busier_is_not_waited_for(bench: Bench) -> None:
    encoders = [bench.join(name, ENCODE, encoder="x", credit=64) for name in ("e1", "e2")]
    large = replace(CAPACITY, requests_running_max=64)
    bench.join("w", encoder="x", fetches=True, credit=64, capacity=large)
    usual = chosen(bench)
    [busy] = [each for each in encoders if each.worker_id == usual]
    await load(bench, busy, AHEAD_MAX)
    assert chosen(bench) == usual
    await load(bench, busy, 1)
    assert chosen(bench) != usual
    assert chosen(bench, avoid=frozenset({"e1", "e2"} - {usual})) == usual  # there is no other


async def test_who_cannot_take_it_is_not_asked(bench: Bench) -> None:
    encoders = {
        name: bench.join(name, ENCODE, encoder=encoder, model=model, credit=1)
        for name, encoder, model in [
            ("e1", "x", "m"),
            ("e2", "x", "m"),
            ("e3", "other files", "m"),
            ("e4", "x", "other model"),
        ]
    }
    bench.join("w", encoder="x", fetches=True)
    asked = {chosen(bench, digest) for digest in range(1, 100)}
    assert asked == {"e1", "e2"}
    assert chosen(bench, avoid=frozenset(("e1", "e2"))) == ""
    assert chosen(bench, taken=None) == chosen(bench, taken=MediaTaken(9)) == ""
    assert (chosen(bench, model="other model"), chosen(bench, model="none")) == ("e4", "")
    bench.registry.drain(encoders["e1"])
    assert {chosen(bench, digest) for digest in range(1, 100)} == {"e2"}
    encoders["e2"].unhealthy = "rank 0 has not answered"
    assert chosen(bench) == ""
    encoders["e2"].unhealthy = ""
    await load(bench, encoders["e2"], 1)
    assert chosen(bench) == ""  # it granted no more
    bench.registry.leave(encoders["e2"])
    assert encoders["e2"] not in bench.registry.encoders


async def test_one_that_drains_before_it_serves_is_not_asked(bench: Bench) -> None:
    encoder = bench.join("e1", ENCODE, encoder="x")
    bench.registry.leave(encoder)
    bench.registry.connect(encoder)
    bench.registry.drain(encoder)
    bench.registry.serve_pictures(encoder)
    assert chosen(bench) == ""


async def test_vectors_are_made_before_pixels(bench: Bench) -> None:
    encoder = bench.join("e1", ENCODE, encoder="x")
    bench.join("e2", PROCESS, encoder="x")
    assert {chosen(bench, digest) for digest in range(1, 50)} == {"e1"}
    bench.registry.drain(encoder)
    assert chosen(bench) == "e2"


async def test_two_that_workers_may_have_died_of_do_not_meet(bench: Bench) -> None:
    encoder = bench.join("e1", ENCODE, encoder="x")
    bench.join("w", encoder="x", fetches=True)
    await load(bench, encoder, 1, alone=True)
    assert chosen(bench, alone=True) == ""
    assert chosen(bench) == "e1"


async def test_who_could_not_fetch_from_an_encoder_gets_others_for_a_while(bench: Bench) -> None:
    encoders = bench.registry.encoders
    encoder = bench.join("e1", ENCODE, encoder="x")
    encoders.note_unreached("e1", "w1", 100.0)
    encoders.note_unreached("e1", "w1", 101.0)
    encoders.note_unreached("e2", "w2", 100.0)
    until = 101.0 + UNREACHED_S
    assert encoders.unreached_by(["w1", "w3"], until - 0.1) == {"e1"}
    assert encoders.unreached_by(["w2"], until - 0.1) == set()
    assert encoders.unreached_by(["w1"], until) == set()
    encoders.note_unreached("e1", "w1", 200.0)
    encoders.add(encoder)  # anew, maybe where it is found
    assert encoders.unreached_by(["w1"], 200.0) == set()
