"""Holds what the router knows of one request, and what it decided."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from msgspec import Struct

from kv_events.hashing import chain_hashes, root_hash, wide_chain_hashes
from kv_events.media_pads import Padded, padded
from protocol.tokens import TOKEN_ID_BYTES, count_tokens, unpack_tokens

BLOCK_TOKENS: Final = 64
"""Is the unit of costs, in tokens: weights keep their meaning whatever block sizes the workers
have.
"""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Weights holds the weights of the cost function, in blocks of 64 tokens: see `kv_aware`.

    The defaults are those of bench/routing.
    """

    prefill: float = 12.0
    """Is the cost of a block of the prompt that is not cached."""
    idle: float = 0.67
    """Is the share of `prefill` that counts on a rank that has nothing to do: nobody stands still
    while the block is computed.
    """
    waiting: float = 8.0
    """Is the cost of a block that waits on the rank to be computed."""
    request: float = 32.0
    """Is the cost of a request that runs or waits on the rank."""
    host: float = 0.75
    """Is the worth of a block cached in host memory, in blocks cached in GPU memory."""
    disk: float = 0.25
    temperature: float = 0.0
    tie: float = 192.0
    """Bounds what a rank may cost more than the cheapest, in blocks, to take turns with it, if it
    holds as much of the prompt.
    """


class RouteRequest:
    """A RouteRequest says what one prompt wishes of the router.

    The choices of a request share it.

    Args:
        prompt: packed u32 token ids.
        worker_id, dp_rank: only there; of a request in two legs the one that generates.
        prefill_worker_id, prefill_dp_rank: only in two legs, with the prompt computed there.
        session_id: where this session went last, if that rank has room.
        weights: instead of the frontend's own.
        media: the runs of its tokens that stand for media, in order; behind one of unknown length
        (0 tokens) nobody knows what is cached.
        cacheable: whether a rank that computes it keeps something that others could use.
        cost_tokens: of work without a prompt, what stands for its tokens.
    Attributes:
        grows: whether some of its media become tokens that only the engine counts.
        insists: whether only some ranks will do, for one of its legs.
        beside: worker id and data-parallel rank where another choice of the same prompt went, if
        the prompt is worth sharing.
    """

    __slots__ = (
        "_by_block_size",
        "_cache_salt",
        "_cacheable",
        "_media",
        "_prompt",
        "beside",
        "dp_rank",
        "grows",
        "insists",
        "lora_name",
        "prefill_dp_rank",
        "prefill_worker_id",
        "prompt_tokens",
        "session_id",
        "weights",
        "worker_id",
    )

    def __init__(
        self,
        prompt: bytes,
        *,
        lora_name: str | None = None,
        cache_salt: str | None = None,
        worker_id: str | None = None,
        dp_rank: int | None = None,
        prefill_worker_id: str | None = None,
        prefill_dp_rank: int | None = None,
        session_id: str | None = None,
        weights: Weights | None = None,
        media: Sequence[Padded] = (),
        cacheable: bool = True,
        cost_tokens: int = 0,
    ) -> None:
        self.prompt_tokens = cost_tokens or count_tokens(prompt)
        self.worker_id = worker_id
        self.dp_rank = dp_rank
        self.prefill_worker_id = prefill_worker_id
        self.prefill_dp_rank = prefill_dp_rank
        self.insists = not (
            worker_id is None
            and dp_rank is None
            and prefill_worker_id is None
            and prefill_dp_rank is None
        )
        self.session_id = session_id
        self.weights = weights
        self.beside: tuple[str, int] | None = None
        self._prompt = prompt
        self._media = media
        self.grows = bool(media) and not all(each.tokens for each in media)
        self._cacheable = cacheable
        self.lora_name = lora_name
        self._cache_salt = cache_salt
        self._by_block_size: dict[int, list[int]] = {}

    @property
    def pinned(self) -> bool:
        """Tells whether only some ranks will do."""
        return self.worker_id is not None or self.dp_rank is not None

    @property
    def pins(self) -> tuple[str | None, int | None, str | None, int | None]:
        """Returns the worker and rank that it insists on, and those to compute its prompt."""
        return self.worker_id, self.dp_rank, self.prefill_worker_id, self.prefill_dp_rank

    def admits(self, rank: tuple[str, int]) -> bool:
        """Tells whether the pins allow the rank of this worker id and data-parallel rank."""
        return self.worker_id in (None, rank[0]) and self.dp_rank in (None, rank[1])

    @property
    def pins_prefill(self) -> bool:
        """Tells whether the request names who is to compute its prompt, and so has two legs."""
        return self.prefill_worker_id is not None or self.prefill_dp_rank is not None

    def of_prefill(self) -> "RouteRequest":
        """The wishes of the leg that computes the prompt: what is cached counts for it."""
        leg = copy(self)
        leg.worker_id, leg.dp_rank = self.prefill_worker_id, self.prefill_dp_rank
        return leg

    def of_decode(self) -> "RouteRequest":
        """The wishes of the leg that takes the prompt's cache over: any rank computes as little."""
        leg = copy(self)
        leg.session_id = leg.beside = None
        leg._cacheable = False
        return leg

    def followed_by(self, output: bytes) -> "RouteRequest":
        """Returns the same wishes for the prompt with `output` (packed u32) behind it."""
        return RouteRequest(
            self._prompt + output,
            lora_name=self.lora_name,
            cache_salt=self._cache_salt,
            worker_id=self.worker_id,
            dp_rank=self.dp_rank,
            prefill_worker_id=self.prefill_worker_id,
            prefill_dp_rank=self.prefill_dp_rank,
            session_id=self.session_id,
            weights=self.weights,
            media=self._media,
            cacheable=self._cacheable,
        )

    def blocks(self, block_size_tokens: int) -> list[int]:
        """Returns the hashes of the prompt's whole blocks, if it is cacheable; made at the first
        call.
        """
        if not self._cacheable:
            return []
        hashes = self._by_block_size.get(block_size_tokens)
        if hashes is None:
            root = root_hash(
                block_size_tokens, lora_name=self.lora_name, cache_salt=self._cache_salt
            )
            hashes = self._by_block_size[block_size_tokens] = (
                self._hashed_with_media(block_size_tokens, root)
                if self._media
                else chain_hashes(self._prompt, block_size_tokens, root)
            )
        return hashes

    def _hashed_with_media(self, block_size_tokens: int, root: int) -> list[int]:
        known = next((each.at for each in self._media if not each.tokens), self.prompt_tokens)
        media = [each for each in self._media if each.at < known]
        tokens = padded(unpack_tokens(self._prompt[: known * TOKEN_ID_BYTES]), media)
        return wide_chain_hashes(tokens, block_size_tokens, root)


RankT = TypeVar("RankT")


class Placement(Struct, Generic[RankT], frozen=True):
    """A Placement is a rank chosen for a request; its token counts are whole blocks."""

    rank: RankT
    cached_tokens: int = 0
    """Counts the prompt's tokens that are expected in the rank's cache, whatever the medium."""
    best_cached_tokens: int = 0
    """Counts what the one of the eligible ranks holds that holds most of the prompt."""
