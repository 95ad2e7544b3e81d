"""Draws scenes of plain shapes on plain backgrounds, many at once, with numpy or with torch.

A shape is a field of distances to its outline, in its own radiuses; a pixel is covered by what is
left of half a pixel minus that distance, so edges are smooth. Shapes and colours are those that the
demo model that sees knows (`tests/demo_vision/drawing.py`), and some more.
"""

from dataclasses import dataclass
from math import cos, hypot, pi, sin
from types import ModuleType
from typing import Any

from tests.demo_vision.drawing import COLOURS as SEEN_COLOURS
from tests.demo_vision.drawing import DARK, LIGHT

COLOURS = {
    **SEEN_COLOURS,
    "pink": (250, 150, 195),
    "black": DARK,
    "white": LIGHT,
    "grey": (135, 135, 140),
}
COLOUR_NAMES = tuple(COLOURS)
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
THINGS_MAX = 2

_SIDE = hypot(0.95, 1.75)
_TIP, _DENT = (1.1, 0.0), (0.45 * cos(pi / 5), 0.45 * sin(pi / 5))
"""Half an arm of the star lies between these two corners."""


@dataclass(frozen=True)
class Scenes:
    """What pictures show: arrays of shape [pictures], and of [pictures, THINGS_MAX] for things.

    Places are shares of width and height, a radius one of the shorter side, 0 where there is
    nothing.
    """

    background: Any
    shape: Any
    colour: Any
    x: Any
    y: Any
    radius: Any


def draw(scenes: Scenes, height: int, width: int, xp: ModuleType, palette: Any) -> Any:
    """Pictures of shape [pictures, 3, height, width], from 0 to 1.

    Args:
        scenes: arrays of `xp`, floats but for numbers of shapes and colours.
        height: in pixels.
        width: in pixels.
        xp: numpy or torch.
        palette: the colours from 0 to 1, of shape [colours, 3].
    """
    like = palette[:1, :1]
    rows = (like * 0 + 1) * _centres(height, xp, like)[:, None]
    columns = (like * 0 + 1) * _centres(width, xp, like)[None, :]
    pictures = palette[scenes.background][:, :, None, None] + 0 * (rows + columns)
    shorter = min(height, width)
    for thing in range(THINGS_MAX):
        radius = scenes.radius[:, thing, None, None] * shorter
        used = xp.where(radius > 0, radius, 0 * radius + 1)
        across = (columns - scenes.x[:, thing, None, None] * width) / used
        down = (rows - scenes.y[:, thing, None, None] * height) / used
        far = distances(across, down, scenes.shape[:, thing, None, None], xp)
        covered = xp.clip(0.5 - far * used, 0.0, 1.0) * (radius > 0)
        colour = palette[scenes.colour[:, thing]][:, :, None, None]
        pictures = pictures + (colour - pictures) * covered[:, None]
    return pictures


def _centres(count: int, xp: ModuleType, like: Any) -> Any:
    if xp.__name__ == "torch":
        return xp.arange(count, device=like.device) + 0.5
    return xp.arange(count) + 0.5


def distances(x: Any, y: Any, shape: Any, xp: ModuleType) -> Any:
    """How far points are outside of shapes given by number; y points down."""
    far = _circle(x, y, xp)
    for number, outline in enumerate((_square, _triangle, _star, _cross, _ring), start=1):
        far = xp.where(shape == number, outline(x, y, xp), far)
    return far


def _circle(x: Any, y: Any, xp: ModuleType) -> Any:
    return xp.sqrt(x * x + y * y) - 1


def _square(x: Any, y: Any, xp: ModuleType) -> Any:
    return xp.maximum(xp.abs(x), xp.abs(y)) - 0.85


def _triangle(x: Any, y: Any, xp: ModuleType) -> Any:
    return xp.maximum(y - 0.75, (1.75 * xp.abs(x) - 0.95 * (y + 1)) / _SIDE)


def _star(x: Any, y: Any, xp: ModuleType) -> Any:
    far = xp.sqrt(x * x + y * y)
    angle = xp.abs(xp.remainder(xp.arctan2(x, -y) + pi / 5, 2 * pi / 5) - pi / 5)
    along, aside = _DENT[0] - _TIP[0], _DENT[1] - _TIP[1]
    outward = aside * (far * xp.cos(angle) - _TIP[0]) - along * (far * xp.sin(angle) - _TIP[1])
    return outward / hypot(along, aside)


def _cross(x: Any, y: Any, xp: ModuleType) -> Any:
    x, y = xp.abs(x), xp.abs(y)
    return xp.minimum(xp.maximum(x - 0.3, y - 1), xp.maximum(x - 1, y - 0.3))


def _ring(x: Any, y: Any, xp: ModuleType) -> Any:
    return xp.abs(xp.sqrt(x * x + y * y) - 0.78) - 0.22
