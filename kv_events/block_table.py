"""Turns the pages that an engine tells of into the router's blocks.

Pure: one rank's events in, what changed in blocks out.

An engine tells pages by hashes of its own, each linked to the page before it. Several pages make
one block, and a block counts as held in a medium as long as its last page is: in a radix cache no
page outlives the page before it. (SGLang evicts from the leaves, and with a hierarchical cache a
page goes to a slower medium only after the one before it.)
"""

from array import array
from typing import Final, cast

from kv_events.hashing import block_hash, joined, root_hash, token_array
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
cache holds. Each takes 160 to 230 bytes.
"""

MEDIUM_OF: Final[dict[str | None, Medium]] = {
    None: GPU,
    "GPU": GPU,
    "CPU_PINNED": HOST,
    "CPU": HOST,
    "DISK": DISK,
    "EXTERNAL": DISK,
}

_NO_TOKENS: Final = array("I")


class _Page:
    """A _Page is an engine's page: `chain` is the hash of the last whole block up to and including
    it, `behind` the number of tokens after that block, which are the first ones of `begun`.
    """

    __slots__ = ("begun", "behind", "chain", "media")

    def __init__(self, chain: int, begun: "array[int]", behind: int) -> None:
        self.chain = chain
        self.begun = begun
        """Is shared by the pages of a block: pages of one token would copy each block 32 times."""
        self.behind = behind
        self.media = 0
        """Has bit m set while the page is held in medium m."""

    @property
    def tail(self) -> "array[int]":
        """Returns the tokens behind the last whole block."""
        return self.begun[: self.behind]


class BlockTable:
    """A BlockTable keeps which KV pages one rank holds, and which blocks they make.

    Attributes:
        orphans: pages not taken, ever, since the page before them was not known or the table was
        full. They, and what follows them, are missing from the router's view; nothing wrong is in
        it.
    """

    def __init__(self, block_size_tokens: int) -> None:
        self._block_size = block_size_tokens
        self._pages: dict[int, _Page] = {}
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
        self._pages.clear()
        for blocks in self._held:
            blocks.clear()
        return [Cleared()]

    def snapshot(self) -> list[bytes]:
        """Returns the hashes of all blocks held, packed, by medium."""
        return [pack_hashes(blocks) for blocks in self._held]

    def _store(self, event: BlockStored) -> list[Change]:
        size, medium = event.block_size, _medium(event.medium)
        self._check(event)
        before = self._before(event)
        if before is None:
            self.orphans += len(event.block_hashes)
            return []
        chain, tail = before
        new: list[int] = []
        pages, block_size, tokens = self._pages, self._block_size, _plain(event)
        begun, behind = _NO_TOKENS, len(tail)
        for index, page_hash in enumerate(event.block_hashes):
            page = pages.get(page_hash)
            if page is None:
                if len(pages) >= PAGES_MAX:
                    self.orphans += len(event.block_hashes) - index
                    break
                if not begun:
                    at = index * size
                    begun = tokens[at : at + block_size - behind]
                    begun = joined(tail, begun) if behind else begun
                behind += size
                if behind == block_size:
                    chain, tail, begun, behind = block_hash(begun, chain), _NO_TOKENS, _NO_TOKENS, 0
                page = pages[page_hash] = _Page(chain, begun, behind)
            else:
                chain, tail, begun, behind = page.chain, page.tail, _NO_TOKENS, page.behind
            if not page.media >> medium & 1:
                page.media |= 1 << medium
                if not behind and self._hold(medium, chain):
                    new.append(chain)
        return [Stored(medium, pack_hashes(new))] if new else []

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
        gone: list[int] = []
        for page_hash in event.block_hashes:
            page = self._pages.get(page_hash)
            if page is None or not page.media >> medium & 1:
                continue
            page.media &= ~(1 << medium)
            if not page.media:
                del self._pages[page_hash]
            if not page.behind and self._let_go(medium, page.chain):
                gone.append(page.chain)
        return [Removed(medium, pack_hashes(gone))] if gone else []

    def _before(self, event: BlockStored) -> "tuple[int, array[int]] | None":
        """Returns the chain and tail that the event's first page follows; None if they are not
        known.
        """
        if event.parent_block_hash is None:
            return root_hash(
                self._block_size, lora_name=event.lora_name, cache_salt=event.cache_salt
            ), _NO_TOKENS
        page = self._pages.get(event.parent_block_hash)
        return None if page is None else (page.chain, page.tail)

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
