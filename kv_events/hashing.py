"""Hashes blocks of tokens, so that a prompt and a cached page agree on what they share.

A block is `block_size_tokens` tokens behind a given prefix. Its hash is xxh3_64 of the tokens as
little-endian u32, seeded with the hash before it, so one number names a whole prefix. The chain
starts at `root_hash`, which holds all that makes equal tokens different entries of a KV cache: the
block size, the LoRA adapter and the client's cache salt.

xxh3 is no cryptographic hash. A client that constructs collisions misroutes its own requests, and
no more: what is cached where only decides where a request runs, never what it reads.

Source: xxHash, https://xxhash.com (the `xxhash` package).
"""

from array import array
from collections.abc import Iterable
from functools import lru_cache
from struct import pack
from typing import Final, Literal

from xxhash import xxh3_64_intdigest

from protocol import packed
from protocol.tokens import TOKEN_ID_BYTES

_VERSION: Final = 1
"""Changes whenever equal prefixes get other hashes; frontends and workers of two versions then
never match, instead of wrongly.
"""

_ROOTS_KEPT: Final = 256
"""Counts the roots that are remembered: nearly all requests share one, and salts may be many."""


@lru_cache(maxsize=_ROOTS_KEPT)
def root_hash(
    block_size_tokens: int, *, lora_name: str | None = None, cache_salt: str | None = None
) -> int:
    """Returns the hash that a chain of blocks starts at, for a block size, an adapter and a cache
    salt.
    """
    lora, salt = (lora_name or "").encode(), (cache_salt or "").encode()
    # Lengths in front, so that ("a", "bc") and ("ab", "c") differ.
    return xxh3_64_intdigest(
        pack("<IIII", _VERSION, block_size_tokens, len(lora), len(salt)) + lora + salt
    )


def chain_hashes(packed_tokens: bytes, block_size_tokens: int, root: int) -> list[int]:
    """Returns the hashes of the whole blocks of a prompt, in order; a partial block at the end has
    none.

    Args:
        packed_tokens: little-endian u32.
    Cost: 0.11 µs a block of 64 tokens (bench/kv/index.py).
    """
    step = block_size_tokens * TOKEN_ID_BYTES
    hashes: list[int] = []
    seed = root
    for start in range(0, len(packed_tokens) - step + 1, step):
        seed = xxh3_64_intdigest(packed_tokens[start : start + step], seed)
        hashes.append(seed)
    return hashes


def wide_chain_hashes(tokens: "array[int]", block_size_tokens: int, root: int) -> list[int]:
    """Returns what `chain_hashes` does, of tokens as u64 some of which stand for media
    (kv_events.media_pads).
    """
    hashes: list[int] = []
    seed = root
    for start in range(0, len(tokens) - block_size_tokens + 1, block_size_tokens):
        seed = block_hash(tokens[start : start + block_size_tokens], seed)
        hashes.append(seed)
    return hashes


def array_chain_hashes(tokens: "array[int]", block_size_tokens: int, root: int) -> list[int]:
    """Returns what `chain_hashes` does, of tokens as u32, or as u64 where some stand for media."""
    if tokens.typecode == "I":
        return chain_hashes(packed.pack("I", tokens), block_size_tokens, root)
    return wide_chain_hashes(tokens, block_size_tokens, root)


def token_array(token_ids: Iterable[int]) -> "array[int]":
    """Returns token ids as u32 or, where one is an image position (a 62-bit integer), as u64.

    Raises:
        OverflowError: one is negative or has more than 64 bits.
    """
    ids = token_ids if isinstance(token_ids, list) else list(token_ids)
    try:
        return array("I", ids)
    except OverflowError:
        return array("Q", ids)


def joined(front: "array[int]", rear: "array[int]") -> "array[int]":
    """Returns two token arrays one after the other, as u64 if one of them is."""
    return front + rear if front.typecode == rear.typecode else array("Q", [*front, *rear])


def block_hash(token_ids: "array[int]", parent: int) -> int:
    """Returns the hash of one block behind the block (or root) `parent`.

    One with an image position is hashed as u64, twice as long, which keeps it apart; one without is
    not, whatever it came in.
    """
    narrow = token_ids.typecode == "I" or max(token_ids) < 2**32
    width: Literal["I", "Q"] = "I" if narrow else "Q"
    return xxh3_64_intdigest(packed.as_packed(width, token_ids), parent)
