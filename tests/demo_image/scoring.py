"""Counts pixels of a picture, to tell whether it shows what was wished.

Each pixel counts for the nearest of the known colours. A thing's pixels are compared with every
shape of as many pixels around the same centre: it is the one that it covers best.
"""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.demo_image.drawing import COLOUR_NAMES, COLOURS, SHAPES, distances
from tests.demo_image.prompts import Thing, Wish

Mask = NDArray[np.bool_]

BACKGROUND_MIN = 0.9
"""This share of the border has the background's colour."""

OTHERS_MAX = 0.08
"""Smooth edges may look like other colours than those wished."""

OVERLAP_MIN = 0.8
"""Pixels in both the thing and its ideal shape, by those in either."""

AWAY_MAX = 0.12
"""Distance from where it should be, by the picture's width or height."""

SIZE_RATIO_MAX = 1.45
"""Half of what is between a big thing and a small one."""


def faults(picture: NDArray[np.uint8], wish: Wish) -> list[str]:
    """What is not as wished, in words, of RGB pixels [height, width, 3]."""
    colours = _colours_of(picture)
    found = []
    border = np.concatenate([colours[:3].ravel(), colours[-3:].ravel()])
    border = np.concatenate([border, colours[:, :3].ravel(), colours[:, -3:].ravel()])
    share = float(np.mean(border == COLOUR_NAMES.index(wish.background)))
    if share < BACKGROUND_MIN:
        found.append(f"{share:.0%} of the border is {wish.background}")
    wished = [wish.background, *(thing.colour for thing in wish.things)]
    others = 1 - float(np.isin(colours, [COLOUR_NAMES.index(name) for name in wished]).mean())
    if others > OTHERS_MAX:
        found.append(f"{others:.0%} has other colours")
    for thing in wish.things:
        mask = colours == COLOUR_NAMES.index(thing.colour)
        if len(wish.things) > 1:
            mask &= _half_of(mask.shape, thing)
        found += _faults_of(mask, thing)
    return found


def _colours_of(picture: NDArray[np.uint8]) -> NDArray[np.intp]:
    palette = np.array([COLOURS[name] for name in COLOUR_NAMES], dtype=np.float32)
    away = picture[:, :, None, :].astype(np.float32) - palette
    return (away**2).sum(axis=-1).argmin(axis=-1)


def _half_of(size: tuple[int, ...], thing: Thing) -> Mask:
    """Pixels nearer to it than to the other of two."""
    rows, columns = _places(size)
    across, down = thing.x - 0.5, thing.y - 0.5
    return (columns / size[1] - 0.5) * across + (rows / size[0] - 0.5) * down > 0


def _places(size: tuple[int, ...]) -> tuple[Any, Any]:
    return np.arange(size[0])[:, None] + 0.5, np.arange(size[1])[None, :] + 0.5


def _faults_of(mask: Mask, thing: Thing) -> list[str]:
    name = f"{thing.colour} {thing.shape}"
    if mask.mean() < 0.003:
        return [f"no {name}"]
    rows, columns = _places(mask.shape)
    x = float((mask * columns).sum() / mask.sum())
    y = float((mask * rows).sum() / mask.sum())
    fits = {}
    for number, shape in enumerate(SHAPES):
        area, sunk = _unit(number)
        radius = float(np.sqrt(mask.sum() / area))
        across, down = (columns - x) / radius, (rows - y) / radius + sunk
        ideal = distances(across, down, np.array(number), np) <= 0
        fits[shape] = (float((mask & ideal).sum() / (mask | ideal).sum()), radius, sunk)
    best = max(fits, key=lambda shape: fits[shape][0])
    overlap, radius, sunk = fits[thing.shape]
    found = []
    if best != thing.shape or overlap < OVERLAP_MIN:
        found.append(f"the {name} is {overlap:.0%} one, and {fits[best][0]:.0%} a {best}")
    away = (x / mask.shape[1] - thing.x, (y - sunk * radius) / mask.shape[0] - thing.y)
    if max(map(abs, away)) > AWAY_MAX:
        found.append(f"the {name} is {away[0]:+.2f} {away[1]:+.2f} away from its place")
    ratio = radius / min(mask.shape) / thing.radius
    if not 1 / SIZE_RATIO_MAX < ratio < SIZE_RATIO_MAX:
        found.append(f"the {name} is {ratio:.2f} times as large as it should be")
    return found


@cache
def _unit(shape: int) -> tuple[float, float]:
    """A shape's area and how far its centre of mass lies below its middle, at radius 1."""
    grid = np.linspace(-1.2, 1.2, 481)
    inside = distances(grid[None, :], grid[:, None], np.array(shape), np) <= 0
    step = grid[1] - grid[0]
    return float(inside.sum() * step**2), float((inside * grid[:, None]).sum() / inside.sum())
