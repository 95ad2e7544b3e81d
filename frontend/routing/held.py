"""How much of a prompt ranks hold, whatever the size of their blocks."""

from collections.abc import Sequence

from frontend.routing.policy import RankT
from frontend.routing.route import RouteRequest
from kv_events.index import Overlap, overlaps


def held_by(ranks: Sequence[RankT], route: RouteRequest) -> list[Overlap]:
    """Returns what each rank holds of the prompt; workers nearly always agree on the size of a
    block.
    """
    sizes = {rank.block_size_tokens for rank in ranks}
    if len(sizes) == 1:  # asked at once, since they mostly hold the same
        return overlaps([rank.blocks for rank in ranks], route.blocks(sizes.pop()))
    return [overlaps([rank.blocks], route.blocks(rank.block_size_tokens))[0] for rank in ranks]
