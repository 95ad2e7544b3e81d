"""The token ids of a stream's chunks: each is told once, and costs no more behind many others."""

import tracemalloc
from typing import Any, cast

from frontend.api.answers.token_fields import StreamedIds
from frontend.fleet.rank import Rank
from frontend.fleet.stream import RequestStream
from frontend.inflight.choice import Choice
from frontend.routing.route import Placement, RouteRequest
from frontend.text.output.choice_text import OutputRules
from kv_events.index import BlockBudget
from protocol.generation import Finished, Generate, Sampling
from protocol.membership import Capacity, Hello, ModelCard
from protocol.replies import Delta
from protocol.tokens import pack_tokens


class Nobody:
    """Is not told of anything."""

    def notify(self) -> None: ...


def leg() -> RequestStream:
    card = ModelCard("m", context_length=8, vocab_size=100, eos_token_ids=[0], files=[])
    capacity = Capacity(dp_size=1, page_size_tokens=16, kv_tokens=1_000, requests_running_max=8)
    hello = Hello("w", 1, "text", "dyn://a.b.c", card, capacity, 4)
    return RequestStream(
        "r" * 32, cast("Any", Nobody()), Placement(Rank(hello, 0, BlockBudget(100)))
    )


def choice() -> Choice:
    request = Generate("r" * 32, "m", pack_tokens([7, 8]), Sampling(max_new_tokens=1), 0)
    return Choice(0, request, RouteRequest(request.token_ids), leg(), None, rules=OutputRules())


def gain(choice: Choice, *token_ids: int, end: Finished | None = None) -> None:
    at = choice.stream.tokens_received
    choice.stream.push(Delta("r" * 32, at, pack_tokens(token_ids), end))
    choice.advance()


def test_ids_are_told_once_also_behind_a_move() -> None:
    moving, ids = choice(), StreamedIds([pack_tokens([7, 8])])
    gain(moving, 1, 2)
    assert ids.fragment(moving) == b',"token_ids":[1,2],"prompt_token_ids":[7,8]'
    gain(moving, 3)
    assert ids.fragment(moving) == b',"token_ids":[3]'
    gain(moving, 4)  # told together with what comes behind the move
    moving.trail.output += moving.take_leg()
    moving.go_on(leg())
    gain(moving, 5)
    assert ids.fragment(moving) == b',"token_ids":[4,5]'
    assert ids.fragment(moving) == b',"token_ids":[]'
    gain(moving, 6, end=Finished("length", 6, 2))
    assert ids.fragment(moving) == b',"token_ids":[6]'
    assert moving.output == pack_tokens(range(1, 7))


def test_what_came_before_is_not_copied_for_each_chunk() -> None:
    long, ids = choice(), StreamedIds()
    gain(long, *range(100_000))
    ids.fragment(long)
    gain(long, 5)
    tracemalloc.start()
    try:
        assert ids.fragment(long) == b',"token_ids":[5]'
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 100_000, "the tokens before it are four times as many bytes"
