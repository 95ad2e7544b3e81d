"""Dynamo's radix tree as its Python bindings offer it, for bench.kv.indexes.worker under Dynamo's
interpreter.

`dynamo.llm.RadixTree` is the one index of ai-dynamo-runtime 1.6.1 that Python can feed: `_core.pyi`
still names KvIndexer and ApproxKvIndexer, but the library has neither. Events are JSON and are
encoded before the clock starts; each call crosses to the tree's own thread and waits. It answers by
(worker, rank) without media. The other in-process way, SelectionService, takes its events over ZMQ
in Rust and answers asynchronously.
"""

import json
from typing import Any

from dynamo.llm import RadixTree, compute_block_hash_for_seq

from bench.kv.indexes.worker import Event, unhex


class DynamoTree:
    def __init__(self, ranks: int) -> None:
        self._tree = RadixTree()
        self._ranks = ranks
        self._number = 0

    def encode_stores(self, events: list[Event]) -> list[Any]:
        """The chained hash stands for both of Dynamo's identities, the engine's (removal, parent)
        and the tokens' (query).
        """
        return [
            self._event(
                event[0],
                {
                    "stored": {
                        "parent_hash": event[2],
                        "blocks": [
                            {"block_hash": block, "tokens_hash": block} for block in unhex(event[3])
                        ],
                    }
                },
            )
            for event in events
        ]

    def encode_removals(self, events: list[Event]) -> list[Any]:
        """Blocks of a chain from its end on."""
        return [
            self._event(event[0], {"removed": {"block_hashes": unhex(event[3])[::-1]}})
            for event in events
        ]

    def apply(self, encoded: list[Any]) -> None:
        apply_event = self._tree.apply_event
        for rank, event in encoded:
            apply_event(rank, event)

    def drop(self, rank: int) -> None:
        self._tree.remove_worker(rank)

    def overlaps(self, hashes: list[int]) -> tuple[None, list[int]]:
        scores = self._tree.find_matches(hashes).scores
        return None, [scores.get((rank, 0), 0) for rank in range(self._ranks)]

    def prompt(self, token_ids: list[int]) -> list[int]:
        """It takes nothing but lists."""
        return token_ids

    def hash_prompt(self, prompt: list[int]) -> list[int]:
        return compute_block_hash_for_seq(prompt, 64)

    def extra(self) -> dict[str, float]:
        return {}

    def _event(self, rank: int, data: dict[str, Any]) -> tuple[int, bytes]:
        self._number += 1
        return rank, json.dumps({"event_id": self._number, "dp_rank": 0, "data": data}).encode()
