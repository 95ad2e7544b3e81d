"""Scenes drawn at random; everything is a function of the generator passed in."""

from random import Random

from tests.demo_vision.drawing import COLOURS, DARK, LIGHT, SHAPES, Scene, Thing

SIZES = (
    *((96, 96),) * 6,
    *((128, 128), (128, 96), (96, 128), (128, 64), (64, 64), (64, 96), (96, 64)),
)
"""Widths and heights in pixels: 4 to 16 tokens of 32 by 32."""

COUNT_MAX = 5
LISTED_MAX = 3
"""So many things are told one by one, and more are counted."""

CELL = 32
"""Pixels of a token: several things have one each, near its middle. A tower of this size tells
their shapes after minutes of training, and those of things that lie anywhere much later.
"""

JITTER = 4.0
"""Pixels from there at most, along each axis."""


def any_scene(rng: Random) -> Scene:
    """A scene of any sort."""
    draw = rng.random()
    if draw < 0.10:
        return digit_scene(rng)
    if draw < 0.22:
        return mixed_scene(rng, 1)
    if draw < 0.60:
        return mixed_scene(rng, 2)
    if draw < 0.68:
        return mixed_scene(rng, 3)
    return counted_scene(rng)


def plain_scene(rng: Random) -> Scene:
    """A scene that a few words describe: one thing, or two."""
    draw = rng.random()
    return digit_scene(rng) if draw < 0.4 else mixed_scene(rng, 1 if draw < 0.85 else 2)


def digit_scene(rng: Random) -> Scene:
    """One digit."""
    return _placed(rng, [str(rng.randrange(10))], [_colour(rng)])


def mixed_scene(rng: Random, count: int) -> Scene:
    """Shapes of any colour."""
    whats = [rng.choice(SHAPES) for _ in range(count)]
    if rng.random() < 0.7:
        whats = rng.sample(SHAPES, count)
    return _placed(rng, whats, [_colour(rng) for _ in whats])


def counted_scene(rng: Random) -> Scene:
    """Several shapes, most of them alike."""
    count = rng.randint(2, COUNT_MAX)
    what, colour = rng.choice(SHAPES), _colour(rng)
    whats, colours = [what] * count, [colour] * count
    if rng.random() < 0.5:
        other = rng.choice(SHAPES)
        for place in rng.sample(range(count), rng.randint(1, count // 2)):
            whats[place] = other
        if rng.random() < 0.7:
            colours = [_colour(rng) for _ in colours]
    return _placed(rng, whats, colours)


def _colour(rng: Random) -> str:
    return rng.choice(list(COLOURS))


def _placed(rng: Random, whats: list[str], colours: list[str]) -> Scene:
    """A picture that is large enough for the things."""
    while True:
        width, height = rng.choice(SIZES)
        if len(whats) == 1:
            spots = [_spot_of_one(rng, width, height)]
        else:
            spots = _spots(rng, width // CELL, height // CELL, len(whats))
        if len(spots) == len(whats):
            break
    background = _tinted(LIGHT if rng.random() < 0.75 else DARK, rng, 10)
    if rng.random() < 0.15:
        grey = rng.randint(190, 250)
        background = (grey, grey, grey)
    things = [
        Thing(
            what,
            colour,
            round(x + rng.uniform(-JITTER, JITTER), 1),
            round(y + rng.uniform(-JITTER, JITTER), 1),
            round(radius, 1),
            _tinted((0, 0, 0), rng, 14),
        )
        for what, colour, (x, y, radius) in zip(whats, colours, spots, strict=True)
    ]
    return Scene(width, height, background, tuple(things))


def _spot_of_one(rng: Random, width: int, height: int) -> tuple[float, float, float]:
    """Middle and radius of a thing that may be larger than a cell."""
    radius = rng.choice((12.0, 16.0, 22.0, 28.0, 36.0)) * rng.uniform(0.95, 1.05)
    while True:
        x = rng.randrange(CELL // 2, width, CELL // 2)
        y = rng.randrange(CELL // 2, height, CELL // 2)
        if 1.1 * radius <= min(x, y, width - x, height - y) + JITTER:
            return x, y, radius
        radius *= 0.95


def _spots(rng: Random, columns: int, rows: int, count: int) -> list[tuple[float, float, float]]:
    """Middles of cells, and radiuses; in distinct columns where they will be told from left to
    right. None where there are too few.
    """
    if count > (columns if count <= LISTED_MAX else columns * rows):
        return []
    if count <= LISTED_MAX:
        cells = [(column, rng.randrange(rows)) for column in rng.sample(range(columns), count)]
    else:
        cells = rng.sample([(x, y) for x in range(columns) for y in range(rows)], count)
    return [
        ((column + 0.5) * CELL, (row + 0.5) * CELL, rng.uniform(11.5, 14.0))
        for column, row in cells
    ]


def _tinted(colour: tuple[int, int, int], rng: Random, most: int) -> tuple[int, int, int]:
    red, green, blue = (part + rng.randint(-most, most) for part in colour)
    return red, green, blue
