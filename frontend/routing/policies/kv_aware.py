"""Chooses the rank where a request costs least: little to compute, and room to run.

    cost = prefill · tokens of this prompt not cached there
         + waiting · tokens that wait there to be computed
         + KV tokens held there + request · requests there           (in blocks of 64 tokens)

The first two terms are the time to the first token, the others slow down every token after it. A
hot prefix therefore draws its requests to one rank only until that rank has more to do than
computing the prefix elsewhere would cost; from then on it is held twice. Computing weighs more than
waiting for what is being computed, or siblings that arrive together would compute one prefix on
every rank; it weighs less on an idle rank, where nobody stands still for it, or a fleet that gets
by with some ranks would never wake the others. Blocks in slower media count for a part.

Ranks that cost about the same and hold as much of the prompt take turns: a GPU computes prompts one
batch after another, so evenly spaced arrivals wait least. The cheapest at each moment would get
several in a row, and round-robin, which never does that, had a TTFT 5 to 12 % lower where nothing
is shared. Ranks of equal turn are drawn at random, since frontends that do not know of each other
must not all take the first.

Source: the cost's form is that of NVIDIA Dynamo's KV router (lib/kv-router, default selector),
there with one prefill term, no request term and no turns. Weights by bench/routing.
"""

from collections.abc import Sequence
from math import exp
from random import Random
from sys import float_info

from frontend.routing.held import held_by
from frontend.routing.policy import RankT
from frontend.routing.route import BLOCK_TOKENS, Placement, RouteRequest, Weights
from kv_events.index import NO_OVERLAP


class KvAware:
    """KvAware is the policy of the mode `kv`: the rank that costs least, by cached prefix and
    load.
    """

    def __init__(self, weights: Weights, random: Random) -> None:
        self._weights = weights
        self._random = random

    def choose(self, ranks: Sequence[RankT], route: RouteRequest) -> Placement[RankT]:
        weights = route.weights or self._weights
        prompt, request = route.prompt_tokens, weights.request * BLOCK_TOKENS
        busy, idle, waiting = weights.prefill, weights.prefill * weights.idle, weights.waiting
        held = held_by(ranks, route)
        costs: list[float] = []
        worth: list[float] = []
        best_cached_tokens = 0
        for rank, overlap in zip(ranks, held, strict=True):  # each line of it is paid by every rank
            requests, credit = rank.requests, 0.0
            if overlap is not NO_OVERLAP:
                near, host, disk = overlap
                size = rank.block_size_tokens
                credit = (near + host * weights.host + disk * weights.disk) * size
                best_cached_tokens = max(best_cached_tokens, (near + host + disk) * size)
            costs.append(
                (busy if requests else idle) * (prompt - credit)
                + waiting * rank.prefill_tokens
                + rank.kv_tokens
                + request * requests
            )
            worth.append(busy * credit)
        chosen = (
            self._soft(costs, weights.temperature)
            if weights.temperature > 0
            else self._turn(ranks, costs, worth, weights.tie)
        )
        rank = ranks[chosen]
        cached_tokens = sum(held[chosen]) * rank.block_size_tokens if best_cached_tokens else 0
        return Placement(rank, cached_tokens, best_cached_tokens)

    def _turn(
        self, ranks: Sequence[RankT], costs: Sequence[float], worth: Sequence[float], tie: float
    ) -> int:
        """Returns, of the ranks that cost about as little as the cheapest and hold as much of the
        prompt, the one that waited longest for work.
        """
        lowest = min(costs)
        limit, held = lowest + tie * BLOCK_TOKENS, worth[costs.index(lowest)]
        alike = [
            index for index, cost in enumerate(costs) if cost <= limit and worth[index] >= held
        ]
        if len(alike) == 1:
            return alike[0]
        oldest = min([ranks[index].placed_at for index in alike])
        return self._random.choice([index for index in alike if ranks[index].placed_at == oldest])

    def _soft(self, costs: Sequence[float], temperature: float) -> int:
        """Draws a rank by softmax over costs scaled to [0, 1], so that a temperature means the same
        at any load.
        """
        lowest = min(costs)
        spread = (max(costs) - lowest) or 1.0
        # the least temperatures vanish in the product
        scale = spread * temperature or float_info.min
        chances = [exp((lowest - cost) / scale) for cost in costs]
        return self._random.choices(range(len(costs)), chances)[0]
