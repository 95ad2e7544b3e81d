"""Turns the pages that an engine tells of into the router's blocks.

Pure: one rank's events in, what changed in blocks out.

An engine tells pages by hashes of its own, each linked to the page before it. Several pages make
one block, and a block counts as held in a medium as long as its last page is: in a radix cache no
page outlives the page before it. (SGLang evicts from the leaves, and with a hierarchical cache a
page goes to a slower medium only after the one before it.)

Nearly all pages are new when they are told, and in GPU memory alone until they go. Those of an
event are hashed and kept together, in calls that take all of them (kv_events.plain_pages); every
other page is a _Page and takes its turn.
"""

from array import array
from collections import deque
from typing import Final, cast

from kv_events.hashing import block_hash, joined, root_hash, token_array
from kv_events.plain_pages import NO_TOKENS, Place, PlainPages
from kv_events.sglang_wire import AllBlocksCleared, BlockRemoved, BlockStored, Event
from protocol.errors import ProtocolViolation
from protocol.kv_stream import (
    DISK,
    GPU,
    HOST,
    MEDIA,
    Change,
    Cleared,
    Medium,
    Removed,
    Stored,
    pack_hashes,
)

PAGES_MAX: Final = 1 << 21
"""Bounds the pages remembered of one rank: 33 M tokens in pages of 16, more than a rank with a host
cache holds. Each takes 85 to 220 bytes.
"""

MEDIUM_OF: Final[dict[str | None, Medium]] = {
    None: GPU,
    "GPU": GPU,
    "CPU_PINNED": HOST,
    "CPU": HOST,
    "DISK": DISK,
    "EXTERNAL": DISK,
}


class _Page:
    """A _Page is an engine's page that ends at `place`."""

    __slots__ = ("media", "place")

    def __init__(self, place: Place) -> None:
        self.place = place
        """Shares `begun` with the pages of its block: pages of one token would copy each block 32
        times.
        """
        self.media = 0
        """Has bit m set while the page is held in medium m."""


class BlockTable:
    """A BlockTable keeps which KV pages one rank holds, and which blocks they make.

    Attributes:
        orphans: pages not taken, ever, since the page before them was not known or the table was
        full. They, and what follows them, are missing from the router's view; nothing wrong is in
        it.
    """

    def __init__(self, block_size_tokens: int) -> None:
        self._block_size = block_size_tokens
        self._plain = PlainPages(block_size_tokens)
        self._pages: dict[int, _Page] = {}
        """Maps the other pages: they are or were in a slower medium, or were told a second time."""
        self._held: tuple[dict[int, int], ...] = tuple({} for _ in MEDIA)
        """Maps, for each medium, a block to the number of pages that end it.

        More than one where an adapter was loaded again under its name.
        """
        self.orphans = 0

    @property
    def blocks_held(self) -> int:
        """Returns the number of blocks held, summed over media."""
        return sum(len(blocks) for blocks in self._held)

    def apply(self, event: Event) -> list[Change]:
        """Takes one event of the engine; returns what it changes in blocks.

        Raises:
            ProtocolViolation: the event contradicts itself, or its pages do not divide the router's
            blocks.
        """
        match event:
            case BlockStored():
                return self._store(event)
            case BlockRemoved():
                return self._remove(event)
            case AllBlocksCleared():
                return self.clear()

    def clear(self) -> list[Change]:
        """Forgets everything, and returns the change that says so."""
        self._plain.clear()
        self._pages.clear()
        for blocks in self._held:
            blocks.clear()
        return [Cleared()]

    def snapshot(self) -> list[bytes]:
        """Returns the hashes of all blocks held, packed, by medium."""
        return [pack_hashes(blocks) for blocks in self._held]

    def _store(self, event: BlockStored) -> list[Change]:
        medium = _medium(event.medium)
        self._check(event)
        before = self._before(event)
        if before is None:
            self.orphans += len(event.block_hashes)
            return []
        tokens = _plain(event)
        ends = self._store_plain(event, tokens, before) if medium == GPU else None
        if ends is None:
            new = self._store_each(event, tokens, before, medium)
        else:
            new = self._hold_all(medium, ends)
        return [Stored(medium, pack_hashes(new))] if new else []

    def _store_plain(
        self, event: BlockStored, tokens: "array[int]", before: Place
    ) -> list[int] | None:
        """Takes pages that are new and in GPU memory, all at once; returns the blocks they end, or
        None where they have to be taken one by one.
        """
        hashes, pages = event.block_hashes, self._pages
        if len(self._plain) + len(pages) + len(hashes) > PAGES_MAX or not (
            not pages or pages.keys().isdisjoint(hashes)
        ):
            return None
        return self._plain.store(hashes, tokens, event.block_size, before)

    def _store_each(
        self, event: BlockStored, tokens: "array[int]", before: Place, medium: Medium
    ) -> list[int]:
        """Takes pages one by one; returns the blocks that are held anew."""
        new: list[int] = []
        chain, _, behind = before
        tail = before.tail
        size, block_size = event.block_size, self._block_size
        begun = NO_TOKENS
        for index, page_hash in enumerate(event.block_hashes):
            page = self._page(page_hash)
            if page is None:
                if len(self._pages) + len(self._plain) >= PAGES_MAX:
                    self.orphans += len(event.block_hashes) - index
                    break
                if not begun:
                    at = index * size
                    begun = tokens[at : at + block_size - behind]
                    begun = joined(tail, begun) if behind else begun
                behind += size
                if behind == block_size:
                    chain, tail, begun, behind = block_hash(begun, chain), NO_TOKENS, NO_TOKENS, 0
                page = self._pages[page_hash] = _Page(Place(chain, begun, behind))
            else:
                chain, _, behind = page.place
                tail, begun = page.place.tail, NO_TOKENS
            if not page.media >> medium & 1:
                page.media |= 1 << medium
                if not behind and self._hold(medium, chain):
                    new.append(chain)
        return new

    def _page(self, page_hash: int) -> _Page | None:
        """Returns a page, which is no plain one any more; None for an unknown one."""
        page = self._pages.get(page_hash)
        if page is None and (place := self._plain.place(page_hash)) is not None:
            self._plain.remove((page_hash,))
            page = self._pages[page_hash] = _Page(place)
            page.media = 1 << GPU
        return page

    def _check(self, event: BlockStored) -> None:
        """Raises ProtocolViolation for an event whose pages have other tokens than it says, or do
        not divide blocks.
        """
        size = event.block_size
        if len(event.token_ids) != size * len(event.block_hashes):
            raise ProtocolViolation(
                f"{len(event.block_hashes)} pages of {size} tokens came with "
                f"{len(event.token_ids)} tokens"
            )
        if self._block_size % size:
            raise ProtocolViolation(
                f"the engine's pages of {size} tokens do not divide blocks of {self._block_size}"
            )

    def _remove(self, event: BlockRemoved) -> list[Change]:
        medium = _medium(event.medium)
        ends, others = (
            self._plain.remove(event.block_hashes) if medium == GPU else ([], event.block_hashes)
        )
        gone = self._let_go_all(medium, ends)
        for page_hash in others:
            page = self._pages.get(page_hash)
            if page is None or not page.media >> medium & 1:
                continue
            page.media &= ~(1 << medium)
            if not page.media:
                del self._pages[page_hash]
            if not page.place.behind and self._let_go(medium, page.place.chain):
                gone.append(page.place.chain)
        return [Removed(medium, pack_hashes(gone))] if gone else []

    def _before(self, event: BlockStored) -> Place | None:
        """Returns where the event's first page begins; None if that is not known."""
        parent = event.parent_block_hash
        if parent is None:
            root = root_hash(
                self._block_size, lora_name=event.lora_name, cache_salt=event.cache_salt
            )
            return Place(root)
        page = self._pages.get(parent)
        return self._plain.place(parent) if page is None else page.place

    def _hold_all(self, medium: Medium, blocks: list[int]) -> list[int]:
        """Holds blocks; returns those that were not held."""
        held, new = self._held[medium], dict.fromkeys(blocks, 1)
        if len(new) == len(blocks) and held.keys().isdisjoint(blocks):  # as nearly always
            held.update(new)
            return blocks
        return [block for block in blocks if self._hold(medium, block)]

    def _let_go_all(self, medium: Medium, blocks: list[int]) -> list[int]:
        """Lets go of blocks; returns those that are held no longer."""
        held = self._held[medium]
        if list(map(held.get, blocks)).count(1) == len(blocks):  # and so each is named once
            deque(map(held.pop, blocks), maxlen=0)
            return blocks
        return [block for block in blocks if self._let_go(medium, block)]

    def _hold(self, medium: Medium, block: int) -> bool:
        held = self._held[medium]
        count = held.get(block, 0)
        held[block] = count + 1
        return count == 0

    def _let_go(self, medium: Medium, block: int) -> bool:
        held = self._held[medium]
        count = held[block] - 1
        if count:
            held[block] = count
            return False
        del held[block]
        return True


def _medium(name: str | None) -> Medium:
    """Returns the medium of that name; one that a later engine invents counts as the slowest."""
    return MEDIUM_OF.get(name, DISK)


def _plain(event: BlockStored) -> "array[int]":
    """Returns the tokens of the pages; under EAGLE each comes with its successor, which is left
    out.
    """
    ids = event.token_ids
    try:
        try:
            return token_array(cast("list[int]", ids))
        except TypeError:  # pairs among them
            return token_array([token if isinstance(token, int) else token[0] for token in ids])
    except OverflowError:
        raise ProtocolViolation("a token id is negative or has more than 64 bits") from None
