"""Feeds a candidate of bench.kv.indexes.candidates what a frontend receives: packed hashes."""

from array import array
from collections.abc import Sequence
from typing import Any

from bench.kv.indexes.candidates import CANDIDATES
from bench.kv.indexes.masks import SweptMasks
from bench.kv.indexes.worker import Event, timed
from kv_events.hashing import chain_hashes, root_hash
from protocol.kv_stream import unpack_hashes

_ROOT = root_hash(64)


class PythonIndex:
    def __init__(self, candidate: str, ranks: int) -> None:
        self._index = CANDIDATES[candidate](ranks)
        self._ranks = tuple(range(ranks))

    def encode_stores(self, events: list[Event]) -> list[Any]:
        return [
            (True, rank, medium, parent, bytes.fromhex(text))
            for rank, medium, parent, text in events
        ]

    def encode_removals(self, events: list[Event]) -> list[Any]:
        return [
            (False, rank, medium, None, bytes.fromhex(text)) for rank, medium, _, text in events
        ]

    def apply(self, encoded: list[Any]) -> None:
        store, remove = self._index.store, self._index.remove
        for stored, rank, medium, parent, packed in encoded:
            if stored:
                store(rank, medium, unpack_hashes(packed), parent)
            else:
                remove(rank, medium, unpack_hashes(packed))

    def drop(self, rank: int) -> None:
        self._index.drop(rank)

    def overlaps(self, hashes: list[int]) -> tuple[list[int], list[int]]:
        return self._index.overlaps(hashes, self._ranks)

    def prompt(self, token_ids: list[int]) -> bytes:
        """Token ids are packed for the wire in any case."""
        return array("I", token_ids).tobytes()

    def hash_prompt(self, prompt: bytes) -> Sequence[int]:
        return chain_hashes(prompt, 64, _ROOT)

    def extra(self) -> dict[str, float]:
        return (
            {"sweep_ms": timed(self._index.sweep)["wall"] * 1e3}
            if isinstance(self._index, SweptMasks)
            else {}
        )
