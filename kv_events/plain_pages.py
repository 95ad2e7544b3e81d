"""Keeps the pages that are in GPU memory alone, as nearly all are, and takes those of an event
together.

A page that ends a block is the block's hash, and no object of its own; the others of a block share
one. Per page there is a call of Python's own code and no more: pages of one token are as many as
the tokens.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, repeat
from typing import Final, NamedTuple

from kv_events.hashing import array_chain_hashes, joined

NO_TOKENS: Final = array("I")


class Place(NamedTuple):
    """A Place is where a page ends: `chain` is the hash of the last whole block up to there (or the
    root), `behind` the number of tokens after that block, which are the first ones of `begun`.
    """

    chain: int
    begun: "array[int]" = NO_TOKENS
    behind: int = 0

    @property
    def tail(self) -> "array[int]":
        """Returns the tokens behind the last whole block."""
        return self.begun[: self.behind]


class _Begun:
    """A _Begun is a block that several pages make, all but the last of which it stands for.

    Attributes:
        before: where the first of its pages begins.
        hashes: of its pages, those of them that were told together.
        tokens: of the block, up to the last of its pages.
    """

    __slots__ = ("before", "hashes", "tokens")

    def __init__(self, before: Place, hashes: Sequence[int], tokens: "array[int]") -> None:
        self.before = before
        self.hashes = hashes
        self.tokens = joined(before.tail, tokens) if before.behind else tokens

    def end_of(self, page: int, size_tokens: int) -> Place:
        """Returns where one of its pages ends, with `begun` shared by all of them."""
        chain, _, behind = self.before
        behind += (self.hashes.index(page) + 1) * size_tokens
        return Place(chain, self.tokens, behind)


class PlainPages:
    """PlainPages are pages of one rank, by the hashes that the engine has for them."""

    def __init__(self, block_size_tokens: int) -> None:
        self._block_size = block_size_tokens
        self._size = block_size_tokens
        """Is the size of the pages: an engine has one, and a Clear comes before it has another."""
        self._pages: dict[int, int | _Begun] = {}

    def __len__(self) -> int:
        return len(self._pages)

    def clear(self) -> None:
        """Forgets them all."""
        self._pages = {}  # a new one, since the old one would keep the memory of its largest size

    def place(self, page: int) -> Place | None:
        """Returns where a page ends; None if it is not here."""
        found = self._pages.get(page)
        if found is None:
            return None
        return Place(found) if isinstance(found, int) else found.end_of(page, self._size)

    def store(
        self, hashes: Sequence[int], tokens: "array[int]", size_tokens: int, before: Place
    ) -> list[int] | None:
        """Takes pages, each behind the one before, and returns the blocks that they end.

        Returns:
            None, and no change, if one of them is here already, or named twice, or they have
            another size than those that are here.
        """
        pages = self._pages
        if pages and size_tokens != self._size:
            return None
        self._size = size_tokens
        whole = joined(before.tail, tokens) if before.behind else tokens
        ends = array_chain_hashes(whole, self._block_size, before.chain)
        values: Sequence[int | _Begun] = (
            ends
            if size_tokens == self._block_size
            else list(self._shared(hashes, tokens, before, ends))
        )
        # Tried and taken back rather than asked first, since each look at a large table takes as
        # long as a change of it.
        held = len(pages)
        kept = list(map(pages.setdefault, hashes, values))
        if len(pages) - held == len(hashes):
            return ends
        for page, value, each in zip(hashes, values, kept, strict=True):
            if each is value:
                pages.pop(page, None)
        return None

    def remove(self, hashes: Sequence[int]) -> tuple[list[int], list[int]]:
        """Forgets pages; returns the blocks that ended in them, and the pages that are not here."""
        pop = self._pages.pop
        found = [pop(page, None) for page in hashes]
        ends = [each for each in found if type(each) is int]
        if len(ends) == len(found):
            return ends, []
        return ends, [page for page, each in zip(hashes, found, strict=True) if each is None]

    def _shared(
        self, hashes: Sequence[int], tokens: "array[int]", before: Place, ends: Sequence[int]
    ) -> Iterable[int | _Begun]:
        """Returns what is kept of each page, where several make a block."""
        size, per_block = self._size, self._block_size // self._size
        kept: list[Iterable[int | _Begun]] = []
        at, place = 0, before
        for end in (*ends, None):
            until = min(len(hashes), at + per_block - place.behind // size)
            begun = _Begun(place, hashes[at:until], tokens[at * size : until * size])
            if end is None:
                kept.append(repeat(begun, until - at))
                break
            kept += repeat(begun, until - at - 1), (end,)
            at, place = until, Place(end)
        return chain.from_iterable(kept)
