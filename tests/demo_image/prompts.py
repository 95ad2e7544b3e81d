"""Asks for pictures in many words, and says what each prompt wants to be drawn."""

from dataclasses import dataclass
from random import Random

from tests.demo_image.drawing import COLOUR_NAMES, SHAPES

COLOUR_WORDS = {name: (name,) for name in COLOUR_NAMES} | {
    "grey": ("grey", "gray"),
    "purple": ("purple", "purple", "violet"),
}
SHAPE_WORDS = {
    "circle": ("circle", "circle", "circle", "disc", "disk", "dot", "ball"),
    "square": ("square", "square", "square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "cross": ("cross", "cross", "plus"),
    "ring": ("ring", "ring", "donut", "hoop"),
}
SIZE_WORDS = {"big": ("big", "large", "huge"), "small": ("small", "little", "tiny")}
RADIUS = {"big": 0.36, "": 0.25, "small": 0.15}
RADIUS_OF_TWO = {"big": 0.23, "": 0.19, "small": 0.12}
NEAR, FAR = 0.28, 0.72
"""Shares of the width or height at which things stand that are not in the middle."""

PLACES = {
    (0.5, 0.5): ("in the middle", "in the center", "in the centre"),
    (NEAR, 0.5): ("on the left", "on the left side", "at the left", "left"),
    (FAR, 0.5): ("on the right", "on the right side", "at the right", "right"),
    (0.5, NEAR): ("at the top", "on top", "top"),
    (0.5, FAR): ("at the bottom", "on the bottom", "bottom"),
    (NEAR, NEAR): ("in the top left corner", "at the top left", "in the upper left", "top left"),
    (FAR, NEAR): ("in the top right corner", "at the top right", "in the upper right", "top right"),
    (NEAR, FAR): ("in the bottom left corner", "at the bottom left", "in the lower left"),
    (FAR, FAR): ("in the bottom right corner", "at the bottom right", "in the lower right"),
}
BACKGROUNDS = (
    "{} on {}",
    "{} on {}",
    "{} on a {} background",
    "{} on a {} background",
    "{} on {} background",
    "{}, {} background",
    "{} with a {} background",
    "{} in front of a {} background",
    "{} against {}",
    "{} in front of {}",
)
BACKGROUND_FIRST = ("{} background, {}", "{} background with {}", "on {}, {}", "{} with {}")
BEFORE = ("draw", "please draw", "a picture of", "an image of", "a drawing of", "paint", "show me")
BEFORE += ("generate", "make", "i want", "can you draw", "please", "a photo of", "create")
PAIRS = {
    "left": ("{} left of {}", "{} to the left of {}", "{} on the left and {} on the right"),
    "right": ("{} right of {}", "{} to the right of {}", "{} on the right and {} on the left"),
    "above": ("{} above {}", "{} at the top and {} at the bottom", "{} on top of {}"),
    "below": ("{} below {}", "{} under {}", "{} at the bottom and {} at the top"),
    "": ("{} and {}", "{} and {}", "{} and {}", "{} next to {}", "{} beside {}", "{}, {}"),
}
"""Where the first of two is; where nothing is said it is on the left."""

CENTRES = {
    "left": ((NEAR, 0.5), (FAR, 0.5)),
    "right": ((FAR, 0.5), (NEAR, 0.5)),
    "above": ((0.5, NEAR), (0.5, FAR)),
    "below": ((0.5, FAR), (0.5, NEAR)),
}


@dataclass(frozen=True)
class Thing:
    """One shape; its place as shares of width and height, its radius of the shorter side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Wish:
    """A prompt and what it asks for."""

    prompt: str
    background: str
    things: tuple[Thing, ...]


def make_wish(rng: Random) -> Wish:
    """Draws one at random; one in five has two things."""
    background = rng.choice(COLOUR_NAMES) if rng.random() < 0.85 else ""
    text, things = (_two if rng.random() < 0.2 else _one)(rng, background)
    shown = background or ("black" if any(one.colour == "white" for one in things) else "white")
    if background:
        colour = rng.choice(COLOUR_WORDS[background])
        if rng.random() < 0.12:
            text = rng.choice(BACKGROUND_FIRST).format(colour, text)
        else:
            text = rng.choice(BACKGROUNDS).format(text, colour)
    if rng.random() < 0.3:
        text = f"{rng.choice(BEFORE)} {text}"
    if rng.random() < 0.15:
        text += rng.choice((".", "!", " please", ", please"))
    return Wish(text, shown, tuple(things))


def _one(rng: Random, background: str) -> tuple[str, list[Thing]]:
    shape, colour = rng.choice(SHAPES), _other_colour(rng, background)
    size = rng.choice(("big", "small", "", ""))
    text, radius = _named(rng, shape, colour, size), RADIUS[size]
    x, y = 0.5, 0.5
    if rng.random() < 0.45:
        x, y = rng.choice(tuple(PLACES))
        text = f"{text} {rng.choice(PLACES[x, y])}"
        if (x, y) != (0.5, 0.5):
            radius = min(0.25, radius)
    return text, [Thing(shape, colour, x, y, radius)]


def _two(rng: Random, background: str) -> tuple[str, list[Thing]]:
    side = rng.choice(("left", "right", "above", "below", "", "", ""))
    names, things = [], []
    for x, y in CENTRES[side or "left"]:
        shape, colour = rng.choice(SHAPES), _other_colour(rng, background)
        size = rng.choice(("big", "small", "", "", "", ""))
        names.append(_named(rng, shape, colour, size))
        things.append(Thing(shape, colour, x, y, RADIUS_OF_TWO[size]))
    return rng.choice(PAIRS[side]).format(*names), things


def _other_colour(rng: Random, background: str) -> str:
    return rng.choice([name for name in COLOUR_NAMES if name != background])


def _named(rng: Random, shape: str, colour: str, size: str) -> str:
    words = [rng.choice(COLOUR_WORDS[colour]), rng.choice(SHAPE_WORDS[shape])]
    if size:
        words.insert(0, rng.choice(SIZE_WORDS[size]))
        if rng.random() < 0.1:
            words[0], words[1] = words[1], words[0]
    if rng.random() < 0.85:
        article = "an" if words[0] == "orange" else "a"
        words.insert(0, article if rng.random() < 0.93 else "the")
    return " ".join(words)


def all_words() -> list[str]:
    """Every word that a prompt may have, and every mark, sorted."""
    phrases = [*BACKGROUNDS, *BACKGROUND_FIRST, *BEFORE, "a the please one an with of it is"]
    for table in (COLOUR_WORDS, SHAPE_WORDS, SIZE_WORDS, PLACES, PAIRS):
        phrases += [phrase for choices in table.values() for phrase in choices]
    text = " ".join(phrases).replace("{}", " ").replace(",", " ")
    return sorted({*text.split(), ",", ".", "!"})
