"""An answer is a sequence of blocks: thinking, text, tool calls.

The form that Anthropic's messages and OpenAI's responses share.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from frontend.text.output.gain import Gain
from protocol.generation import ToolCall

Kind = Literal["reasoning", "text", "call"]


class Block(Struct, eq=False):
    """A Block is one piece of an answer (thinking, text or a tool call), as far as it has come.

    Attributes:
        index: its place in the answer, from 0.
        call: id and name of a tool call; None for text and thinking.
        pieces: of its text, or of the JSON of its arguments.
    """

    index: int
    kind: Kind
    call: ToolCall | None
    pieces: list[str]

    @property
    def text(self) -> str:
        """Returns what has come of the block, in one piece."""
        return "".join(self.pieces)


class Opened(Struct, frozen=True):
    """Opened says that a block has begun."""

    block: Block


class Grown(Struct, frozen=True):
    """Grown says that a block has got a further piece of text, or of its arguments' JSON."""

    block: Block
    piece: str


class Closed(Struct, frozen=True):
    """Closed says that a block is complete."""

    block: Block


Move = Opened | Grown | Closed


class BlockSequence:
    """A BlockSequence turns what a choice gains into blocks: one is open at a time, and what is of
    another kind than it begins the next.

    Thinking is shown without the white space behind it, which a parser may tell of only after the
    text has begun.
    """

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._open: Block | None = None
        self._space = ""
        """Holds the white space behind the thinking so far, which is not shown yet."""
        self._of_call: dict[int, Block] = {}
        """Maps a call's own index to its block."""

    def take(self, gain: Gain) -> Iterator[Move]:
        """Yields what a gain opens, grows and closes, in order. Every move must be taken before the
        next call.
        """
        if gain.reasoning:
            thought = self._space + gain.reasoning
            shown = thought.rstrip()
            self._space = thought[len(shown) :]
            if shown:
                yield from self._grow("reasoning", shown)
        if gain.text:
            yield from self._grow("text", gain.text)
        for piece in gain.calls:
            block = self._of_call.get(piece.index)
            if block is None:
                yield from self._close()
                block = self._of_call[piece.index] = self._new("call", piece)
                yield Opened(block)
            if piece.arguments:
                block.pieces.append(piece.arguments)
                yield Grown(block, piece.arguments)

    def end(self) -> Iterator[Move]:
        """Closes the open block, since the answer is complete."""
        yield from self._close()

    def _grow(self, kind: Kind, piece: str) -> Iterator[Move]:
        block = self._open
        if block is None or block.kind != kind:
            yield from self._close()
            block = self._new(kind, None)
            yield Opened(block)
        block.pieces.append(piece)
        yield Grown(block, piece)

    def _new(self, kind: Kind, call: ToolCall | None) -> Block:
        block = self._open = Block(len(self.blocks), kind, call, [])
        self.blocks.append(block)
        return block

    def _close(self) -> Iterator[Move]:
        if self._open is not None:
            yield Closed(self._open)
            self._open, self._space = None, ""


def blocks_of(reasoning: str, text: str, calls: Sequence[ToolCall]) -> list[Block]:
    """Returns the blocks of an answer that is known as a whole."""
    sequence = BlockSequence()
    for _ in sequence.take(Gain(text=text, reasoning=reasoning, calls=calls)):
        pass
    return sequence.blocks
