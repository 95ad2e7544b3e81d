"""The rank where a request costs least: little to compute, and room to run.

    cost = prefill · (tokens waiting to be computed there + tokens of this prompt not cached there)
         + KV tokens held there + request · requests there                               (in blocks of 64 tokens)

The first term is the time to the first token, the others slow down every token after it. A hot prefix therefore draws its requests to
one rank only until that rank has more to do than computing the prefix elsewhere would cost; from then on it is held twice. Blocks in
slower media count for a part. Ties are settled at random, since frontends that do not know of each other must not all take the first.

Source: the cost's form is that of NVIDIA Dynamo's KV router (lib/kv-router, default selector), there without the request term.
"""

from collections.abc import Sequence
from math import exp
from random import Random

from frontend.routing.policy import RankT
from frontend.routing.route import BLOCK_TOKENS, Placement, Route, Weights
from kv_events.index import Overlap, overlaps


class KvAware:
    """Policy of the mode `kv`."""

    def __init__(self, weights: Weights, random: Random) -> None:
        self._weights = weights
        self._random = random

    def choose(self, ranks: Sequence[RankT], route: Route) -> Placement[RankT]:
        weights = route.weights or self._weights
        prompt, prefill, request = route.prompt_tokens, weights.prefill, weights.request * BLOCK_TOKENS
        held = _held(ranks, route)
        costs: list[float] = []
        for rank, (near, host, disk) in zip(ranks, held, strict=True):
            credit = (near + host * weights.host + disk * weights.disk) * rank.block_size_tokens if near or host or disk else 0
            costs.append(prefill * (rank.prefill_tokens + prompt - credit) + rank.kv_tokens + request * rank.requests)
        chosen = self._pick(costs, weights.temperature)
        rank, size = ranks[chosen], ranks[chosen].block_size_tokens
        best = max(sum(overlap) * other.block_size_tokens for other, overlap in zip(ranks, held, strict=True))
        return Placement(rank, sum(held[chosen]) * size, held[chosen].gpu * size, best)

    def _pick(self, costs: list[float], temperature: float) -> int:
        lowest = min(costs)
        if temperature > 0:
            # Softmax over costs scaled to [0, 1], so that a temperature means the same at any load.
            spread = (max(costs) - lowest) or 1.0
            chances = [exp((lowest - cost) / (spread * temperature)) for cost in costs]
            return self._random.choices(range(len(costs)), chances)[0]
        first = costs.index(lowest)
        if costs.count(lowest) == 1:
            return first
        return self._random.choice([index for index, cost in enumerate(costs) if cost == lowest])


def _held(ranks: Sequence[RankT], route: Route) -> list[Overlap]:
    """What each rank holds of the prompt. Workers nearly always agree on the size of a block."""
    sizes = {rank.block_size_tokens for rank in ranks}
    if len(sizes) == 1:
        return overlaps([rank.blocks for rank in ranks], route.blocks(sizes.pop()))
    return [overlaps([rank.blocks], route.blocks(rank.block_size_tokens))[0] for rank in ranks]
