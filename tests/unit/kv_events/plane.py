"""The whole KV plane in one process, over real sockets: sim engine → relay → subscriber → index."""

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import zmq

from kv_events.hashing import chain_hashes, root_hash
from kv_events.index import BlockBudget, RankBlocks, overlaps
from kv_events.relay import KvRelay
from kv_events.subscriber import KvSubscriber, Subscription
from protocol.generation import Generate, Sampling
from protocol.replies import Delta
from protocol.tokens import pack_tokens
from workers.engine import EngineFacts
from workers.kv_events_config import KvEventsConfig, with_events
from workers.sim.engine import SimEngine
from workers.sim.settings import read_settings

PAGE = 4
BLOCK = 8
FAR_MS = 2**50


class Plane:
    """One sim engine of `ranks` ranks with small caches, its relay, and as many subscribers as are
    made.
    """

    def __init__(
        self, model_dir: Path, *argv: str, ranks: int = 1, cache_tokens: int = 512, **config: Any
    ) -> None:
        given = KvEventsConfig(publisher="zmq", **config).as_json() if config else None
        self.settings = read_settings(
            [
                *(
                    "--model-path",
                    str(model_dir),
                    "--sim-speedup",
                    "0",
                    "--page-size",
                    str(PAGE),
                    "--dp-size",
                    str(ranks),
                ),
                *(
                    "--max-total-tokens",
                    str(cache_tokens),
                    "--kv-events-config",
                    with_events(given),
                    *argv,
                ),
            ]
        )
        self.ranks = ranks
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.budget = BlockBudget(1_000_000)
        self.ended: dict[str, asyncio.Future[Delta]] = {}
        self.ids = itertools.count()
        self.stream_ids = itertools.count(1)
        self.followers: list[Follower] = []

    async def __aenter__(self) -> "Plane":
        await self.start_engine()
        self.start_relay()
        return self

    async def __aexit__(self, *_: object) -> None:
        for follower in self.followers:
            follower.close()
        self.relay.close()
        await self.engine.stop()
        self.context.term()

    async def start_engine(self) -> None:
        self.engine = SimEngine(self.settings)
        self.facts: EngineFacts = await self.engine.start(self._deliver, pytest.fail)

    def start_relay(self) -> None:
        self.relay = KvRelay(
            self.context,
            self.facts.kv_streams,
            block_size_tokens=BLOCK,
            bind="tcp://127.0.0.1:*",
            key=None,
            stream_id=next(self.stream_ids),
        )

    def follow(self) -> "Follower":
        follower = Follower(self)
        self.followers.append(follower)
        return follower

    async def run(
        self, tokens: Sequence[int], *, rank: int = 0, new_tokens: int = 1, **wishes: Any
    ) -> Delta:
        """One request from its prompt to its end."""
        request_id = f"{next(self.ids):032x}"
        future = self.ended[request_id] = asyncio.get_running_loop().create_future()
        sampling = Sampling(max_new_tokens=new_tokens, ignore_eos=True)
        self.engine.submit(
            Generate(
                request_id,
                "tiny",
                pack_tokens(tokens),
                sampling,
                FAR_MS,
                routed_dp_rank=rank,
                **wishes,
            )
        )
        return await future

    def truth(self, rank: int = 0) -> set[int]:
        """The blocks in the engine's own cache, of plain requests."""
        cache = self.engine._ranks.schedulers[rank]._cache
        blocks: set[int] = set()

        def walk(node: Any, tokens: bytes) -> None:
            blocks.update(chain_hashes(tokens, BLOCK, root_hash(BLOCK)))
            for child in node.children.values():
                walk(child, tokens + child.pages)

        walk(cache.root, b"")
        return blocks

    def _deliver(self, deltas: Sequence[Delta]) -> None:
        for delta in deltas:
            if delta.end is not None:
                self.ended.pop(delta.request_id).set_result(delta)


class Follower:
    """One frontend's view."""

    def __init__(self, plane: Plane) -> None:
        self.plane = plane
        self.lags: list[float] = []
        self.subscriber = KvSubscriber(plane.context, None, on_lag=self.lags.append)
        self.blocks = [RankBlocks(plane.budget, 10_000) for _ in range(plane.ranks)]
        self.subscription: Subscription = self.subscriber.subscribe(
            plane.relay.source_at("127.0.0.1"), self.blocks.__getitem__
        )

    def overlap(self, tokens: Sequence[int], rank: int = 0, **names: Any) -> int:
        """Leading tokens of a prompt that the view says are cached."""
        hashes = chain_hashes(pack_tokens(tokens), BLOCK, root_hash(BLOCK, **names))
        return sum(overlaps([self.blocks[rank]], hashes)[0]) * BLOCK

    def seen(self, rank: int = 0) -> set[int]:
        return set(self.blocks[rank].places)

    async def until(self, condition: Callable[[], bool], *, seconds: float = 20.0) -> None:
        """Wait for the sockets to bring it about; heartbeats tell the numbers meanwhile, as a
        worker's do.
        """
        async with asyncio.timeout(seconds):
            while not condition():
                self.beat()
                await asyncio.sleep(0.01)

    async def until_equal(self, rank: int = 0) -> None:
        """The view is the engine's truth, and stays it."""
        await self.until(
            lambda: self.subscription.current and self.seen(rank) == self.plane.truth(rank)
        )

    def beat(self) -> None:
        now = asyncio.get_running_loop().time()
        for load in map(self.plane.relay.numbered, self.plane.engine.loads()):
            self.subscription.feeds[load.dp_rank].on_number(load.kv_number, now)

    def close(self) -> None:
        self.subscriber.close()
