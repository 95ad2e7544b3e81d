import asyncio

from frontend.mesh.sockets import mesh_context
from kv_events.index import BlockBudget, RankBlocks
from kv_events.subscriber import KvSubscriber
from protocol.membership import KvSource
from protocol.process.open_files import raise_open_files

WORKERS = 1_100
DESCRIPTORS_OF_ONE = 4


async def test_a_thousand_workers_are_asked_for_their_blocks_at_once(caplog):
    """As where a frontend starts under a fleet that is there already."""
    assert raise_open_files() > WORKERS * DESCRIPTORS_OF_ONE
    context, budget = mesh_context(), BlockBudget(1)
    subscriber = KvSubscriber(context, None, on_lag=lambda _: None)
    nobody = "ipc:///nonexistent/kvmesh"
    try:
        subscriptions = [
            subscriber.subscribe(
                KvSource(number, nobody, nobody, first_rank=0, rank_count=1),
                lambda _: RankBlocks(budget, 1),
            )
            for number in range(1, WORKERS + 1)
        ]
        await asyncio.sleep(0)
        assert all(subscription.dealer is not None for subscription in subscriptions)
        assert "cannot ask" not in caplog.text
    finally:
        subscriber.close()
        context.term()
