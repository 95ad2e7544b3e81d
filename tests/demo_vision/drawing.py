"""Draws pictures of plain shapes and digits, with numpy alone: the same scene gives the same pixels
on any machine.
"""

from dataclasses import dataclass
from math import cos, pi, sin

import numpy as np
from numpy.typing import NDArray

SHAPES = ("circle", "square", "triangle", "star", "cross")
COLOURS = {
    "red": (220, 30, 40),
    "green": (30, 160, 60),
    "blue": (40, 70, 220),
    "yellow": (240, 215, 30),
    "purple": (150, 40, 180),
    "orange": (245, 140, 20),
}
LIGHT, DARK = (245, 245, 245), (25, 25, 30)
"""Backgrounds."""

SUPERSAMPLES = 3
"""Samples a pixel along each axis: edges are smooth, as most programs draw them."""

_DIGITS = (
    "01110 10001 10001 10001 10001 10001 01110",
    "00100 01100 00100 00100 00100 00100 01110",
    "01110 10001 00001 00110 01000 10000 11111",
    "11110 00001 00001 01110 00001 00001 11110",
    "00010 00110 01010 10010 11111 00010 00010",
    "11111 10000 11110 00001 00001 10001 01110",
    "00110 01000 10000 11110 10001 10001 01110",
    "11111 00001 00010 00100 01000 01000 01000",
    "01110 10001 10001 01110 10001 10001 01110",
    "01110 10001 10001 01111 00001 00010 01100",
)
"""Rows of five dots for each digit."""

Mask = NDArray[np.bool_]
Grid = NDArray[np.float64]


@dataclass(frozen=True)
class Thing:
    """One shape or digit; its centre and its radius are in pixels, and `tint` is added to its
    colour.
    """

    what: str
    colour: str
    x: float
    y: float
    radius: float
    tint: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class Scene:
    """What a picture shows, and its size in pixels."""

    width: int
    height: int
    background: tuple[int, int, int]
    things: tuple[Thing, ...]


def draw(scene: Scene) -> NDArray[np.uint8]:
    """RGB pixels of shape [height, width, 3]."""
    picture = np.empty((scene.height, scene.width, 3))
    picture[:] = scene.background
    for thing in scene.things:
        colour = np.add(COLOURS[thing.colour], thing.tint)
        reach = 1.15 * thing.radius + 1
        rows = _pixels(thing.y, reach, scene.height)
        columns = _pixels(thing.x, reach, scene.width)
        share = _coverage(thing, rows, columns)[..., None]
        part = picture[rows.start : rows.stop, columns.start : columns.stop]
        part += (colour - part) * share
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _pixels(centre: float, reach: float, size: int) -> range:
    """Pixels of one axis that a thing may touch."""
    return range(max(0, int(centre - reach)), min(size, int(centre + reach) + 1))


def _coverage(thing: Thing, rows: range, columns: range) -> Grid:
    """How much of each pixel the thing covers, 0 to 1, of shape [rows, columns]."""
    across = (_samples(columns) - thing.x) / thing.radius
    down = (_samples(rows) - thing.y) / thing.radius  # points down
    inside = _inside(thing.what, across[None, :], down[:, None])
    return inside.reshape(len(rows), SUPERSAMPLES, len(columns), SUPERSAMPLES).mean(axis=(1, 3))


def _samples(pixels: range) -> Grid:
    """Where the pixels of one axis are sampled."""
    return pixels.start + (np.arange(len(pixels) * SUPERSAMPLES) + 0.5) / SUPERSAMPLES


def _inside(what: str, x: Grid, y: Grid) -> Mask:
    if what == "circle":
        return x * x + y * y <= 1
    if what == "square":
        return np.maximum(abs(x), abs(y)) <= 0.85
    if what == "triangle":
        return _polygon([(0, -1), (0.95, 0.75), (-0.95, 0.75)], x, y)
    if what == "cross":
        return (np.minimum(abs(x), abs(y)) <= 0.3) & (np.maximum(abs(x), abs(y)) <= 1)
    if what == "star":
        angles = [(pi * corner / 5, 1.1 if corner % 2 == 0 else 0.45) for corner in range(10)]
        return _polygon([(far * sin(angle), -far * cos(angle)) for angle, far in angles], x, y)
    return _digit(int(what), x, y)


def _polygon(corners: list[tuple[float, float]], x: Grid, y: Grid) -> Mask:
    """A point is inside where a ray from it crosses the outline an odd number of times."""
    inside = np.zeros(np.broadcast_shapes(x.shape, y.shape), dtype=bool)
    for (x1, y1), (x2, y2) in zip(corners, [*corners[1:], corners[0]], strict=True):
        if y1 != y2:
            inside ^= ((y1 > y) != (y2 > y)) & (x < (x2 - x1) * (y - y1) / (y2 - y1) + x1)
    return inside


def _digit(digit: int, x: Grid, y: Grid) -> Mask:
    dots = np.array([[dot == "1" for dot in row] for row in _DIGITS[digit].split()])
    column = np.floor((x + 5 / 7) * 3.5).astype(int)
    row = np.floor((y + 1) * 3.5).astype(int)
    held = (column >= 0) & (column < 5) & (row >= 0) & (row < 7)
    return held & dots[row.clip(0, 6), column.clip(0, 4)]
