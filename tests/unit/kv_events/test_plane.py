"""Engine, relay and subscriber over real sockets: after whatever went wrong, the frontend's index
equals the engine's cache.
"""

import random
from pathlib import Path

import pytest

from protocol.generation import Finished
from protocol.kv_stream import Removed, pack_hashes
from starter.ports import reserve_ports
from tests.unit.kv_events.plane import BLOCK, Follower, Plane
from tests.unit.sim.conftest import model_dir

__all__ = ["model_dir"]  # a fixture

WORDS = range(200)


def prompt(length: int, seed: int) -> list[int]:
    return random.Random(seed).choices(WORDS, k=length)


ROUNDS_MAX = 5
"""A relay that connects late fetches all of the first round in one replay, and loses nothing under
its eyes before the second.
"""


async def churn(
    plane: Plane, follower: Follower | None = None, *, requests: int = 60, seed: int = 0
) -> None:
    """Prompts that share beginnings, more than the cache holds, so that pages are evicted."""
    rng = random.Random(seed)
    starts = [prompt(64, number) for number in range(6)]
    for _ in range(requests):
        await plane.run(
            rng.choice(starts)[: rng.randint(8, 64)]
            + prompt(rng.randint(0, 60), rng.randint(0, 10**6)),
            rank=rng.randrange(plane.ranks),
        )
        if follower is not None:
            follower.beat()


async def test_what_is_predicted_is_what_the_engine_finds(model_dir: Path) -> None:
    async with Plane(model_dir) as plane:
        follower = plane.follow()
        rng = random.Random(1)
        starts = [prompt(64, number) for number in range(4)]
        for number in range(60):
            tokens = rng.choice(starts)[: rng.randint(1, 64)] + prompt(rng.randint(1, 40), number)
            await follower.until_equal()
            predicted = follower.overlap(tokens)
            end = (await plane.run(tokens)).end
            assert isinstance(end, Finished)
            # The engine computes one token at least, and counts pages where the router counts
            # blocks.
            assert predicted == min(
                end.cached_tokens, (len(tokens) - 1)
            ) // BLOCK * BLOCK or predicted == len(tokens)


async def test_adapters_and_salts_have_caches_of_their_own(model_dir: Path) -> None:
    async with Plane(model_dir) as plane:
        follower, tokens = plane.follow(), prompt(40, 1)
        for names in (
            {},
            {"lora_name": "a"},
            {"cache_salt": "x"},
            {"lora_name": "a", "cache_salt": "x"},
        ):
            assert follower.overlap(tokens, **names) == 0
            end = (await plane.run(tokens, **names)).end
            assert isinstance(end, Finished)
            assert end.cached_tokens == 0
            await follower.until(lambda names=names: follower.overlap(tokens, **names) == 40)


async def test_every_rank_has_its_own_stream(model_dir: Path) -> None:
    async with Plane(model_dir, ranks=4) as plane:
        follower = plane.follow()
        await churn(plane, follower)
        for rank in range(4):
            await follower.until_equal(rank)
        assert len({frozenset(follower.seen(rank)) for rank in range(4)}) == 4


async def test_a_late_frontend_gets_a_snapshot_and_two_frontends_see_the_same(
    model_dir: Path,
) -> None:
    async with Plane(model_dir) as plane:
        first = plane.follow()
        await churn(plane)
        late = plane.follow()
        await churn(plane, requests=20, seed=9)
        await first.until_equal()
        await late.until_equal()
        assert late.subscriber.counts.snapshots >= 1


@pytest.mark.parametrize("fault", ["kv-drop=3", "kv-drop=2", "kv-duplicate=2", "kv-swap=3"])
async def test_batches_that_an_engine_loses_repeats_or_swaps(model_dir: Path, fault: str) -> None:
    async with Plane(model_dir, "--sim-fault", fault) as plane:
        follower = plane.follow()
        for seed in range(ROUNDS_MAX):
            await churn(plane, follower, seed=seed)
            await follower.until_equal()
            if plane.relay.counts().gaps or "duplicate" in fault:
                break
        counts = plane.relay.counts()
        assert counts.losses == counts.restarts == 0
        assert counts.gaps > 0 or "duplicate" in fault


async def test_a_lost_tail_is_fetched_though_nothing_follows_it(model_dir: Path) -> None:
    async with Plane(model_dir, "--sim-fault", "kv-drop=1") as plane:  # nothing is ever sent live
        follower = plane.follow()
        await plane.run(prompt(40, 1))
        await follower.until_equal()
        assert len(follower.seen()) == 5


async def test_the_relay_restarts(model_dir: Path) -> None:
    async with Plane(model_dir) as plane:
        old = plane.follow()
        await churn(plane)
        await old.until_equal()
        plane.relay.close()
        old.subscriber.unsubscribe(old.subscription)
        assert not old.seen()
        await churn(plane, requests=10, seed=3)
        plane.start_relay()
        new = plane.follow()
        await churn(plane, requests=10, seed=4)
        await new.until_equal()


async def test_the_engine_restarts_under_a_living_relay(model_dir: Path) -> None:
    async with Plane(model_dir) as plane:
        follower = plane.follow()
        await churn(plane)
        await follower.until_equal()
        await plane.engine.stop()
        await plane.start_engine()
        await plane.run(prompt(40, 77))
        await follower.until_equal()
        assert len(follower.seen()) == 5
        assert plane.relay.counts().restarts == 1


async def test_a_gap_that_no_replay_can_fill_is_forgotten_not_trusted(model_dir: Path) -> None:
    """The engine keeps two batches for replays and loses every second live one: what is left must
    be a part of the truth.
    """
    port = _free_ports()
    config = {
        "endpoint": f"tcp://127.0.0.1:{port}",
        "replay_endpoint": f"tcp://127.0.0.1:{port + 1}",
        "buffer_steps": 2,
        "bind": True,
    }
    async with Plane(model_dir, **config) as plane:
        plane.relay.close()
        await churn(plane, requests=30, seed=5)
        plane.start_relay()
        late = plane.follow()
        await late.until(lambda: late.subscription.current and plane.relay.counts().losses == 1)
        await plane.run(prompt(40, 123))
        await late.until(lambda: late.overlap(prompt(40, 123)) == 40)
        assert late.seen() <= plane.truth()
        # Flushing the cache makes both agree again.
        assert plane.engine.flush_cache()
        await late.until_equal()


async def test_a_flood_that_overruns_the_publisher_is_made_up_for(model_dir: Path) -> None:
    """High-water marks of one message, and a relay whose loop stands still for hundreds of
    batches.
    """
    port = _free_ports()
    config = {
        "endpoint": f"tcp://127.0.0.1:{port}",
        "replay_endpoint": f"tcp://127.0.0.1:{port + 1}",
        "hwm": 1,
        "bind": True,
    }
    async with Plane(model_dir, **config) as plane:
        follower = plane.follow()
        await plane.run(prompt(16, 0))
        await follower.until_equal()
        outlet, scheduler = plane.engine._outlets[0], plane.engine._ranks.schedulers[0]
        for number in range(3_000):  # no turn of the loop in between: nobody reads
            scheduler._cache.insert(
                b"".join(token.to_bytes(4, "little") for token in prompt(16, number)), 4
            )
            scheduler._cache.evict(2)
            outlet.flush()
        await follower.until_equal()


async def test_a_subscriber_that_stands_still_catches_up_by_snapshot(model_dir: Path) -> None:
    async with Plane(model_dir) as plane:
        follower = plane.follow()
        await plane.run(prompt(16, 0))
        await follower.until_equal()
        stream = plane.relay._streams[0]
        nothing = Removed(0, pack_hashes(range(128)))
        # more than the sockets' high-water marks and the kernel's buffers together
        for number in range(60_000):
            stream._tell([nothing], float(number))
            stream.leave()
        await plane.run(prompt(40, 5))
        await follower.until_equal()
        assert follower.subscriber.counts.gaps >= 1


async def test_the_lag_of_events_is_told(model_dir: Path) -> None:
    async with Plane(model_dir) as plane:
        follower = plane.follow()
        await follower.until(lambda: follower.subscription.current)
        await plane.run(prompt(40, 1))
        await follower.until(lambda: bool(follower.lags))
        assert all(0 <= lag < 60 for lag in follower.lags)


def _free_ports() -> int:
    return reserve_ports(2)
