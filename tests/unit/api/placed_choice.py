"""A choice that runs on a rank, for what answers tell of it."""

import asyncio

from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.fleet.wakeup import Wakeup
from frontend.inflight.choice import Choice
from frontend.routing.route import Placement, RouteRequest
from frontend.text.output.choice_text import OutputRules
from kv_events.index import BlockBudget
from protocol.generation import Finished, Generate, Sampling
from protocol.membership import Capacity, Hello, ModelCard
from protocol.tokens import pack_tokens


def placed_stream(*, dp_size: int = 1, dp_rank: int = 0, predicted: int = 0) -> RequestStream:
    """A stream of a request that was sent to a rank of worker w, which was thought to have so many
    of its prompt's tokens cached.
    """
    card = ModelCard(name="m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
    capacity = Capacity(
        dp_size=dp_size, page_size_tokens=16, kv_tokens=1_000, requests_running_max=8
    )
    hello = Hello(
        worker_id="w",
        epoch=1,
        service="text",
        endpoint="dyn://a.b.c",
        card=card,
        capacity=capacity,
        credit_requests=4,
    )
    loop = asyncio.new_event_loop()
    loop.close()  # nobody waits for it
    rank = Rank(hello, dp_rank, BlockBudget(10))
    return RequestStream("r", Wakeup(loop), Placement(rank, cached_tokens=predicted))


def placed_choice(
    *, finished: Finished | None = None, queue_s: float = 0.0, predicted: int = 0
) -> Choice:
    """A choice of a request with a prompt of 100 tokens that runs on rank 3 of worker w."""
    stream = placed_stream(dp_size=4, dp_rank=3, predicted=predicted)
    stream.finished, stream.queue_s = finished, queue_s
    prompt = pack_tokens(range(100))
    return Choice(
        0,
        Generate("r" * 32, "m", prompt, Sampling(max_new_tokens=1), 0),
        RouteRequest(prompt),
        stream,
        None,
        rules=OutputRules(),
    )
