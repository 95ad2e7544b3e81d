"""Prompts that the demo model that draws is held to, each with a seed and what is to be seen."""

from tests.demo_image.prompts import FAR, NEAR, RADIUS, Thing, Wish

ENOUGH = 27
"""So many of them must be drawn without a fault."""


def one(
    prompt: str, background: str, colour: str, shape: str, size: str = "",
    x: float = 0.5, y: float = 0.5,
) -> Wish:  # fmt: skip
    """A wish for one thing."""
    radius = RADIUS[size] if (x, y) == (0.5, 0.5) else min(0.25, RADIUS[size])
    return Wish(prompt, background, (Thing(shape, colour, x, y, radius),))


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
    one("a small yellow square on the right on blue", "blue", "yellow", "square", "small", x=FAR),
    one("a big green cross on white", "white", "green", "cross", "big"),
    one("a white triangle at the top on a red background", "red", "white", "triangle", y=NEAR),
    one("a pink star at the bottom on black", "black", "pink", "star", y=FAR),
    one("a small purple circle in the top right corner on yellow", "yellow", "purple", "circle",
        "small", FAR, NEAR),
    one("an orange square in the bottom left corner on grey", "grey", "orange", "square",
        x=NEAR, y=FAR),
    one("a black ring on the left on pink", "pink", "black", "ring", x=NEAR),
    one("Draw a grey triangle on green", "green", "grey", "triangle"),
)  # fmt: skip
