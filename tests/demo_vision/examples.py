"""Dialogues → what the model is trained on: token ids, positions, patches, and what is to be
learned.
"""

import re
from dataclasses import dataclass
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.demo_vision.dialogues import Dialogue
from tests.demo_vision.drawing import COLOURS, SHAPES, Scene, draw
from tests.demo_vision.model import FRAMES, MERGE, PATCH

SPARE = -100
"""At this target nothing is learned."""

ANSWER = re.compile(r"<\|im_start\|>assistant\n(.*?<\|im_end\|>)", re.DOTALL)
WHATS = (*SHAPES, *"0123456789")
COLOUR_NAMES = tuple(COLOURS)
CELL = PATCH * MERGE


@dataclass(frozen=True)
class Picture:
    """One picture as the tower takes it, and what is at each of its tokens.

    Attributes:
        patches: of shape [4 tokens, 3 x FRAMES x PATCH x PATCH], values -1 to 1.
        rows, columns: of tokens.
        cells: of shape [tokens, 4]: what has its centre there (SPARE: nothing), its colour, and
        where the centre is, in thousandths of the picture's width and height.
    """

    patches: NDArray[np.float32]
    rows: int
    columns: int
    cells: NDArray[np.int64]


@dataclass(frozen=True)
class Example:
    """Token ids, the id to predict next at each (SPARE where nothing is learned), their positions
    of shape [3, tokens], and the pictures.
    """

    ids: list[int]
    targets: list[int]
    positions: NDArray[np.int64]
    pictures: list[Picture]


def picture_of(scene: Scene, noise: np.random.Generator | None = None) -> Picture:
    """A drawn scene; its size must be one that the image processor leaves as it is.

    Args:
        noise: adds some, so that the model bears other programs' pictures.
    """
    pixels = draw(scene).astype(np.float32)
    if noise is not None:
        pixels = (pixels + noise.normal(0, noise.uniform(0, 6), pixels.shape)).clip(0, 255)
    rows, columns = scene.height // CELL, scene.width // CELL
    parts = (pixels.astype(np.float32) / 127.5 - 1).reshape(
        rows, MERGE, PATCH, columns, MERGE, PATCH, 3
    )
    parts = parts.transpose(0, 3, 1, 4, 6, 2, 5)[:, :, :, :, :, None]
    parts = np.repeat(parts, FRAMES, axis=5)
    patches = parts.reshape(rows * columns * MERGE * MERGE, -1)
    return Picture(patches, rows, columns, _cells(scene, rows, columns))


def _cells(scene: Scene, rows: int, columns: int) -> NDArray[np.int64]:
    cells = np.full((rows * columns, 4), SPARE)
    for thing in scene.things:
        row, column = int(thing.y // CELL), int(thing.x // CELL)
        cells[row * columns + column] = (
            WHATS.index(thing.what),
            COLOUR_NAMES.index(thing.colour),
            round(1000 * thing.x / scene.width),
            round(1000 * thing.y / scene.height),
        )
    return cells


class Examples:
    """Renders dialogues with the model's own tokenizer and template."""

    def __init__(self, tokenizer: Any, seed: int) -> None:
        self.tokenizer = tokenizer
        self.pad: int = tokenizer.convert_tokens_to_ids("<|image_pad|>")
        self._noise = np.random.default_rng(seed)

    def render(self, dialogue: Dialogue) -> str:
        """The whole dialogue as text."""
        return self.tokenizer.apply_chat_template(
            dialogue.messages, tools=dialogue.tools or None, tokenize=False
        )

    def of(self, dialogue: Dialogue, rng: Random) -> Example:
        """The dialogue's example; half of the pictures get noise."""
        text = self.render(dialogue)
        encoded = self.tokenizer(text, return_offsets_mapping=True, add_special_tokens=False)
        spans = [match.span(1) for match in ANSWER.finditer(text)]
        pictures = [
            picture_of(scene, self._noise if rng.random() < 0.5 else None)
            for scene in dialogue.scenes
        ]
        ids: list[int] = []
        targets: list[int] = []
        columns: list[NDArray[np.int64]] = []
        place, waiting = 0, iter(pictures)
        for token, (begin, _) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True):
            if token == self.pad:
                picture = next(waiting)
                where = np.indices((1, picture.rows, picture.columns)).reshape(3, -1)
                columns.append(place + where)
                ids += [token] * where.shape[1]
                targets += [SPARE] * where.shape[1]
                place += max(picture.rows, picture.columns)
            else:
                columns.append(np.full((3, 1), place))
                ids.append(token)
                learned = any(start <= begin < end for start, end in spans)
                targets.append(token if learned else SPARE)
                place += 1
        positions = np.concatenate(columns, axis=1)
        return Example(ids[:-1], targets[1:], positions[:, :-1], pictures)


@dataclass(frozen=True)
class Batch:
    """Several examples, padded on the right; ids and targets of shape [examples, length], positions
    [3, examples, length].
    """

    ids: Tensor
    targets: Tensor
    positions: Tensor
    patches: Tensor
    grids: Tensor
    cells: Tensor


def batch_of(examples: list[Example]) -> Batch:
    """One batch."""
    length = max(len(example.ids) for example in examples)
    positions = np.zeros((3, len(examples), length), dtype=np.int64)
    for number, example in enumerate(examples):
        positions[:, number, : len(example.ids)] = example.positions
    pictures = [picture for example in examples for picture in example.pictures]
    return Batch(
        _padded([example.ids for example in examples], length, 0),
        _padded([example.targets for example in examples], length, SPARE),
        torch.from_numpy(positions),
        *pictures_of(pictures),
    )


def pictures_of(pictures: list[Picture]) -> tuple[Tensor, Tensor, Tensor]:
    """Patches, grids in patches of shape [pictures, 3], and cells, of all pictures in a row."""
    if not pictures:
        return torch.zeros(0, 3 * FRAMES * PATCH**2), torch.zeros(0, 3), torch.zeros(0, 4)
    grids = [[1, picture.rows * MERGE, picture.columns * MERGE] for picture in pictures]
    return (
        torch.from_numpy(np.concatenate([picture.patches for picture in pictures])),
        torch.tensor(grids),
        torch.from_numpy(np.concatenate([picture.cells for picture in pictures])),
    )


def _padded(rows: list[list[int]], length: int, filler: int) -> Tensor:
    return torch.tensor([row + [filler] * (length - len(row)) for row in rows])
