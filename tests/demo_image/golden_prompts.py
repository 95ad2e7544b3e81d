"""Prompts that the demo model that draws is held to, each with a seed and what is to be seen."""

from tests.demo_image.prompts import CENTRES, FAR, NEAR, RADIUS, RADIUS_OF_TWO, Thing, Wish

ENOUGH = 27
"""So many of them must be drawn without a fault."""


def one(
    prompt: str, background: str, colour: str, shape: str, size: str = "",
    x: float = 0.5, y: float = 0.5,
) -> Wish:  # fmt: skip
    """A wish for one thing."""
    radius = RADIUS[size] if (x, y) == (0.5, 0.5) else min(0.25, RADIUS[size])
    return Wish(prompt, background, (Thing(shape, colour, x, y, radius),))


def two(prompt: str, background: str, side: str, *things: str) -> Wish:
    """A wish for two things, each a colour and a shape, the first on that side of the second."""
    placed = []
    for named, (x, y) in zip(things, CENTRES[side], strict=True):
        colour, shape = named.split()
        placed.append(Thing(shape, colour, x, y, RADIUS_OF_TWO[""]))
    return Wish(prompt, background, tuple(placed))


PROMPTS = (
    one("a red circle on blue", "blue", "red", "circle"),
    one("a blue circle on red", "red", "blue", "circle"),
    one("A yellow star on a black background.", "black", "yellow", "star"),
    one("a green triangle on white", "white", "green", "triangle"),
    one("a purple ring", "white", "purple", "ring"),
    one("orange square, grey background", "grey", "orange", "square"),
    one("a white cross on a green background", "green", "white", "cross"),
    one("please draw a pink circle on black", "black", "pink", "circle"),
    one("a picture of a black triangle on yellow", "yellow", "black", "triangle"),
    one("a grey star on purple", "purple", "grey", "star"),
    one("a big red square on white", "white", "red", "square", "big"),
    one("a small red square on white", "white", "red", "square", "small"),
    one("a large blue ring on an orange background", "orange", "blue", "ring", "big"),
    one("a tiny green dot on pink", "pink", "green", "circle", "small"),
    one("a huge yellow star on blue", "blue", "yellow", "star", "big"),
    one("a little black cross on grey", "grey", "black", "cross", "small"),
    one("a red triangle on the left on a white background", "white", "red", "triangle", x=NEAR),
    one("a blue star on the right on yellow", "yellow", "blue", "star", x=FAR),
    one("a green square at the top on black", "black", "green", "square", y=NEAR),
    one("an orange circle at the bottom on purple", "purple", "orange", "circle", y=FAR),
    one("a small white ring in the top left corner on red", "red", "white", "ring", "small",
        NEAR, NEAR),
    one("a purple cross in the bottom right corner, pink background", "pink", "purple", "cross",
        x=FAR, y=FAR),
    two("a red circle and a blue square on white", "white", "left", "red circle", "blue square"),
    two("a blue square and a red circle on white", "white", "left", "blue square", "red circle"),
    two("a yellow star left of a green triangle on black", "black", "left", "yellow star",
        "green triangle"),
    two("a pink ring to the right of a white cross on blue", "blue", "right", "pink ring",
        "white cross"),
    two("an orange triangle above a purple square on a grey background", "grey", "above",
        "orange triangle", "purple square"),
    two("a black circle below a red star on yellow", "yellow", "below", "black circle",
        "red star"),
    two("a green ring next to a grey circle", "white", "left", "green ring", "grey circle"),
    two("Draw a white square and a yellow cross on red", "red", "left", "white square",
        "yellow cross"),
)  # fmt: skip
