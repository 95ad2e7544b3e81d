"""The first requests of an engine fit into its queue."""

import asyncio

import pytest

from protocol.generation import Finished
from protocol.membership import Capacity, ModelCard
from protocol.replies import Delta
from protocol.requests import Work
from workers.engine import EngineFacts
from workers.kinds.text import TEXT
from workers.sglang.warm_up import WarmUp


@pytest.mark.parametrize(
    ("queued_max", "waves"), [(None, [6]), (3, [6]), (2, [4, 2]), (1, [2, 2, 2])]
)
async def test_no_more_are_submitted_at_once_than_each_rank_lets_wait(
    queued_max: int | None, waves: list[int]
) -> None:
    card = ModelCard(name="m", context_length=4_000, vocab_size=50, eos_token_ids=[], files=[])
    capacity = Capacity(
        dp_size=2,
        page_size_tokens=16,
        kv_tokens=4_000,
        requests_running_max=4,
        requests_queued_max=queued_max,
    )
    warm_up, submitted = (
        WarmUp(
            EngineFacts(card=card, card_files={}, capacity=capacity, version="none"),
            TEXT.first_work,
        ),
        list[Work](),
    )
    running = asyncio.create_task(warm_up.run(submitted.append))
    for count in waves:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(submitted) == count
        warm_up.take(
            [Delta(request.request_id, 0, b"", Finished("length", 1, 8)) for request in submitted]
        )
        submitted.clear()
    await running
