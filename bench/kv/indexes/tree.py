"""A node a block, as in Dynamo's radix tree."""

from collections.abc import Sequence

from bench.kv.indexes.interface import GPU, MEDIA, Runs


class Node:
    """A block in `Tree`. `holders` are rank * MEDIA + medium."""

    __slots__ = ("block", "children", "holders", "parent")

    def __init__(self, block: int, parent: "Node | None") -> None:
        self.block = block
        self.parent = parent
        self.children: dict[int, Node] = {}
        self.holders: set[int] = set()


class Tree:
    """C: a table of all nodes finds the parent of an event and what a removal names."""

    def __init__(self, ranks: int) -> None:
        self._root = Node(0, None)
        self._nodes: dict[int, Node] = {}
        self._slow = [0] * ranks

    def store(self, rank: int, medium: int, hashes: Sequence[int], parent: int | None) -> None:
        node = self._root if parent is None else self._nodes[parent]
        holder = rank * MEDIA + medium
        self._slow[rank] += len(hashes) if medium != GPU else 0
        for block in hashes:
            child = node.children.get(block)
            if child is None:
                child = self._nodes[block] = node.children[block] = Node(block, node)
            child.holders.add(holder)
            node = child

    def remove(self, rank: int, medium: int, hashes: Sequence[int]) -> None:
        holder = rank * MEDIA + medium
        for block in hashes:
            node = self._nodes.get(block)
            if node is not None:
                node.holders.discard(holder)
                self._unlink(node)

    def drop(self, rank: int) -> None:
        holders = {rank * MEDIA + medium for medium in range(MEDIA)}
        self._slow[rank] = 0
        touched: list[Node] = []
        pending = list(self._root.children.values())
        while pending:
            node = pending.pop()
            if node.holders & holders:
                node.holders -= holders
                touched.append(node)
                pending.extend(node.children.values())
        for node in reversed(touched):
            self._unlink(node)

    def overlaps(self, hashes: Sequence[int], ranks: tuple[int, ...]) -> Runs:
        gpu = self._runs(hashes, {rank * MEDIA: rank for rank in ranks})
        near = [gpu[rank] for rank in ranks]
        if not any(self._slow):
            return near, near
        return near, self._runs_anywhere(hashes, ranks)

    def _runs(self, hashes: Sequence[int], rank_of: dict[int, int]) -> dict[int, int]:
        runs = dict.fromkeys(rank_of.values(), 0)
        alive, node = set(rank_of), self._root
        for depth, block in enumerate(hashes):
            child = node.children.get(block)
            still = alive & child.holders if child else set[int]()
            if len(still) < len(alive):
                for holder in alive - still:
                    runs[rank_of[holder]] = depth
            if child is None or not still:
                return runs
            alive, node = still, child
        for holder in alive:
            runs[rank_of[holder]] = len(hashes)
        return runs

    def _runs_anywhere(self, hashes: Sequence[int], ranks: tuple[int, ...]) -> list[int]:
        runs = dict.fromkeys(ranks, 0)
        alive, node = set(ranks), self._root
        for depth, block in enumerate(hashes):
            child = node.children.get(block)
            still = alive & {holder // MEDIA for holder in child.holders} if child else set[int]()
            runs.update(dict.fromkeys(alive - still, depth))
            if child is None or not still:
                return list(runs.values())
            alive, node = still, child
        return list((runs | dict.fromkeys(alive, len(hashes))).values())

    def _unlink(self, node: Node) -> None:
        while (
            node.parent is not None
            and not node.holders
            and not node.children
            and self._nodes.pop(node.block, None)
        ):
            del node.parent.children[node.block]
            node = node.parent
