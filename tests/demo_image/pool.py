"""Wishes by the ten thousand as tensors, drawn anew with small shifts each time."""

from random import Random

import torch
from tokenizers import Tokenizer
from torch import Tensor

from tests.demo_image.drawing import COLOUR_NAMES, COLOURS, SHAPES, THINGS_MAX, Scenes, draw
from tests.demo_image.model import CONTROL, END, PAD, UNKNOWN
from tests.demo_image.prompts import Thing, Wish, make_wish

WORDS_MAX = 32
"""Tokens of a prompt with its end: prompts of `prompts.py` have fewer."""

STRANGE = 0.06
"""In this share of prompts one word more is unknown."""

NOTHING = Thing(SHAPES[0], COLOUR_NAMES[0], 0.5, 0.5, 0.0)


def palette(device: torch.device) -> Tensor:
    """The known colours, from 0 to 1."""
    return torch.tensor([COLOURS[name] for name in COLOUR_NAMES], device=device) / 255


class Pool:
    """Holds prompts and scenes on a device."""

    def __init__(self, tokenizer: Tokenizer, rng: Random, count: int, device: torch.device) -> None:
        wishes = [make_wish(rng) for _ in range(count)]
        self.ids = ids_of(tokenizer, [wish.prompt for wish in wishes], WORDS_MAX, device)
        _add_strange_words(self.ids, tokenizer.token_to_id(END))
        self.scenes = scenes_of(wishes, device)
        self.palette = palette(device)

    def pick(self, count: int) -> Tensor:
        """Numbers of that many wishes."""
        return torch.randint(len(self.ids), (count,), device=self.ids.device)

    def pictures(self, picked: Tensor, height: int, width: int) -> Tensor:
        """Draws them, from -1 to 1, no two quite alike."""
        scenes = Scenes(*(getattr(self.scenes, name)[picked] for name in Scenes.__annotations__))
        moved = [place + 0.015 * (2 * torch.rand_like(place) - 1) for place in (scenes.x, scenes.y)]
        radius = scenes.radius * (1 + 0.05 * (2 * torch.rand_like(scenes.radius) - 1))
        drawn = Scenes(scenes.background, scenes.shape, scenes.colour, *moved, radius)
        return 2 * draw(drawn, height, width, torch, self.palette) - 1


def scenes_of(wishes: list[Wish], device: torch.device) -> Scenes:
    """The scenes that are wished, as tensors."""
    things = [[*wish.things, *[NOTHING] * (THINGS_MAX - len(wish.things))] for wish in wishes]

    def tensor(rows: list[list[float]] | list[list[int]]) -> Tensor:
        return torch.tensor(rows, device=device)

    return Scenes(
        torch.tensor([COLOUR_NAMES.index(wish.background) for wish in wishes], device=device),
        tensor([[SHAPES.index(one.shape) for one in row] for row in things]),
        tensor([[COLOUR_NAMES.index(one.colour) for one in row] for row in things]),
        tensor([[one.x for one in row] for row in things]),
        tensor([[one.y for one in row] for row in things]),
        tensor([[one.radius for one in row] for row in things]),
    )


def ids_of(tokenizer: Tokenizer, texts: list[str], length: int, device: torch.device) -> Tensor:
    """Tokens of prompts, filled up to a length."""
    ids = torch.full((len(texts), length), CONTROL.index(PAD))
    for row, encoding in zip(ids, tokenizer.encode_batch(texts), strict=True):
        assert len(encoding.ids) <= length
        row[: len(encoding.ids)] = torch.tensor(encoding.ids)
    return ids.to(device)


def _add_strange_words(ids: Tensor, end: int) -> None:
    """A word that nobody knows is put in front of another, here and there."""
    lengths = (ids == end).int().argmax(dim=1)
    chosen = (torch.rand(len(ids), device=ids.device) < STRANGE) & (lengths < WORDS_MAX - 1)
    places = (torch.rand(len(ids), device=ids.device) * (lengths + 1)).long()
    numbers = torch.arange(WORDS_MAX, device=ids.device)[None]
    later = (numbers > places[:, None]) & chosen[:, None]
    moved = torch.where(later, ids.roll(1, dims=1), ids)
    here = (numbers == places[:, None]) & chosen[:, None]
    ids.copy_(torch.where(here, CONTROL.index(UNKNOWN), moved))
