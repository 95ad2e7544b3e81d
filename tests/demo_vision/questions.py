"""Questions about scenes, with the answers that the model is taught."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from tests.demo_vision.drawing import COLOURS, SHAPES, Scene, Thing
from tests.demo_vision.scenes import LISTED_MAX

NUMBERS = ("no", "one", "two", "three", "four", "five")
SEE = (
    "What do you see?",
    "What is in the picture?",
    "Describe the picture.",
    "What does the picture show?",
    "What is this?",
    "What is in this image?",
    "Describe this image.",
)
COLOUR = (
    "What colour is the {}?",
    "What color is the {}?",
    "Which colour is the {}?",
    "Which colour does the {} have?",
)
COUNT = ("How many {} are there?", "How many {} do you see?", "Count the {}.")
SIDE = ("What is on the {}?", "Which shape is on the {}?", "What do you see on the {}?")
BESIDE = ("What is {} of the {}?", "What is to the {} of the {}?")
BY_COLOUR = ("Which shape is {}?", "What is {}?", "What shape is the {} one?")
DIGIT = (
    "Which digit is it?",
    "What digit is it?",
    "Which number is this?",
    "Which digit do you see?",
    "Read the digit.",
)
NO_PICTURE = "I see no picture. Send me one."


@dataclass(frozen=True)
class Asked:
    """A question of one kind about a picture, and its answer."""

    kind: str
    question: str
    answer: str


def describe(scene: Scene) -> str:
    """A few words on everything in the picture, from left to right."""
    things = sorted(scene.things, key=lambda thing: thing.x)
    first = things[0]
    if len(things) > 1 and all(_looks(thing) == _looks(first) for thing in things):
        return f"{NUMBERS[len(things)]} {first.colour} {plural(first.what)}"
    if len(things) > LISTED_MAX:
        return f"{NUMBERS[len(things)]} shapes"
    named = [with_article(f"{thing.colour} {thing.what}") for thing in things]
    return named[0] if len(named) == 1 else ", ".join(named[:-1]) + " and " + named[-1]


def sentence(words: str) -> str:
    """With a capital and a full stop."""
    return words[0].upper() + words[1:] + "."


def with_article(words: str) -> str:
    """A or an, by the first letter."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def plural(shape: str) -> str:
    """Of a shape's name."""
    return shape + ("es" if shape.endswith("s") else "s")


def ask(scene: Scene, rng: Random) -> Asked:
    """Any question about the picture that has one answer."""
    kinds: list[Callable[[Scene, Random], Asked | None]] = [see, see, colour, count, by_colour]
    if scene.things[0].what.isdigit():
        kinds = [see, digit, digit, digit, colour]
    elif len(scene.things) == 2:
        kinds += [side, side, side, side]
    elif len(scene.things) > 2:
        kinds += [count, count, count]
    while True:
        asked = rng.choice(kinds)(scene, rng)
        if asked is not None:
            return asked


def see(scene: Scene, rng: Random) -> Asked:
    """What is there?"""
    return Asked("see", rng.choice(SEE), sentence(describe(scene)))


def colour(scene: Scene, rng: Random) -> Asked | None:
    """Which colour has the only thing of a shape?"""
    thing = rng.choice(scene.things)
    name = "digit" if thing.what.isdigit() else thing.what
    if _how_many(scene, thing.what) != 1:
        return None
    return Asked("colour", rng.choice(COLOUR).format(name), f"The {name} is {thing.colour}.")


def by_colour(scene: Scene, rng: Random) -> Asked | None:
    """Which shape has a colour that no other has?"""
    thing = rng.choice(scene.things)
    if sum(other.colour == thing.colour for other in scene.things) != 1:
        return None
    return Asked(
        "shape", rng.choice(BY_COLOUR).format(thing.colour), f"The {thing.what} is {thing.colour}."
    )


def count(scene: Scene, rng: Random) -> Asked:
    """How many are there of a shape, of a colour, or of all?"""
    draw = rng.random()
    if draw < 0.2:
        name, number, one = "shapes", len(scene.things), "shape"
    elif draw < 0.35:
        wanted = _present_or_any([thing.colour for thing in scene.things], list(COLOURS), rng)
        number = sum(thing.colour == wanted for thing in scene.things)
        name, one = f"{wanted} shapes", f"{wanted} shape"
    else:
        one = _present_or_any([thing.what for thing in scene.things], list(SHAPES), rng)
        name, number = plural(one), _how_many(scene, one)
    verb = f"is one {one}" if number == 1 else f"are {NUMBERS[number]} {name}"
    return Asked("count", rng.choice(COUNT).format(name), f"There {verb}.")


def side(scene: Scene, rng: Random) -> Asked | None:
    """Which of two things is on a side, or beside the other?"""
    things = sorted(scene.things, key=lambda thing: thing.x)
    which = rng.randrange(2)
    where = ("left", "right")[which]
    said = sentence(with_article(f"{things[which].colour} {things[which].what}"))
    if rng.random() < 0.8:
        return Asked("side", rng.choice(SIDE).format(where), said)
    if things[0].what == things[1].what:
        return None
    return Asked("side", rng.choice(BESIDE).format(where, things[1 - which].what), said)


def digit(scene: Scene, rng: Random) -> Asked:
    """Which digit is it?"""
    return Asked("digit", rng.choice(DIGIT), f"It is the digit {scene.things[0].what}.")


def _looks(thing: Thing) -> tuple[str, str]:
    return thing.what, thing.colour


def _how_many(scene: Scene, what: str) -> int:
    return sum(thing.what == what for thing in scene.things)


def _present_or_any(present: list[str], all_names: list[str], rng: Random) -> str:
    return rng.choice(present if rng.random() < 0.85 else all_names)
