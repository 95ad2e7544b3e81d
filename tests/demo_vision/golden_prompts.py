"""What the demo model that sees is asked for `golden.json`, and the pictures it is shown."""

from typing import Any

from tests.demo_vision.dialogues import CALL, CAMERA, IMAGE, SYSTEM, answer, user
from tests.demo_vision.drawing import DARK, LIGHT, Scene, Thing
from tests.demo_vision.small_talk import FALLBACK

Entry = dict[str, Any]


def scene(*things: Thing, width: int = 96, height: int = 96, dark: bool = False) -> Scene:
    """A picture of these things."""
    return Scene(width, height, DARK if dark else LIGHT, things)


PICTURES = {
    "red-circle": scene(Thing("circle", "red", 50, 46, 24)),
    "blue-square": scene(Thing("square", "blue", 47, 49, 22)),
    "green-triangle": scene(Thing("triangle", "green", 65, 47, 28), width=128),
    "yellow-star": scene(Thing("star", "yellow", 48, 48, 28), dark=True),
    "orange-cross": scene(Thing("cross", "orange", 32, 32, 20), width=64, height=64),
    "purple-7": scene(Thing("7", "purple", 48, 48, 28)),
    "red-3": scene(Thing("3", "red", 32, 48, 22), width=64),
    "blue-0": scene(Thing("0", "blue", 64, 64, 36), width=128, height=128),
    "star-left": scene(Thing("star", "green", 16, 48, 13), Thing("circle", "red", 80, 48, 13)),
    "star-right": scene(Thing("circle", "red", 16, 48, 13), Thing("star", "green", 80, 48, 13)),
    "square-and-cross": scene(
        Thing("square", "purple", 17, 18, 13), Thing("cross", "orange", 80, 47, 13), width=128,
        height=64, dark=True,
    ),
    "three-stars": scene(
        *(Thing("star", "blue", x, y, 13) for x, y in ((17, 17), (80, 47), (48, 112))),
        width=128, height=128,
    ),
    "two-squares-and-circle": scene(
        Thing("square", "red", 16, 16, 13), Thing("square", "green", 80, 17, 13),
        Thing("circle", "blue", 48, 79, 13),
    ),
    "five-triangles": scene(
        *(Thing("triangle", "green", x, y, 13)
          for x, y in ((16, 16), (112, 16), (48, 48), (16, 112), (80, 112))),
        width=128, height=128,
    ),
    "large-orange-square": scene(Thing("square", "orange", 160, 120, 70), width=320, height=240),
}  # fmt: skip
"""By file name without .png. The last is reduced before the model sees it."""


def asked(name: str, picture: str, question: str, wanted: str) -> Entry:
    """One picture, one question."""
    return entry(name, [user(IMAGE, question)], wanted, picture)


def entry(name: str, messages: list[Any], wanted: str, *pictures: str, tools: Any = None) -> Entry:
    """A prompt, the right answer, and the pictures in their order."""
    made: Entry = {"name": name, "messages": messages, "pictures": list(pictures), "text": wanted}
    return made if tools is None else {**made, "tools": tools}


PROMPTS: list[Entry] = [
    asked("see-red-circle", "red-circle", "What do you see?", "A red circle."),
    asked("see-blue-square", "blue-square", "What do you see?", "A blue square."),
    asked("see-green-triangle", "green-triangle", "What is in the picture?", "A green triangle."),
    asked("see-yellow-star", "yellow-star", "What do you see?", "A yellow star."),
    asked("see-orange-cross", "orange-cross", "Describe the picture.", "An orange cross."),
    asked("see-digit", "purple-7", "What do you see?", "A purple 7."),
    asked("see-large", "large-orange-square", "What do you see?", "An orange square."),
    asked("see-star-left", "star-left", "What do you see?", "A green star and a red circle."),
    asked("see-star-right", "star-right", "What do you see?", "A red circle and a green star."),
    asked("see-stars", "three-stars", "What do you see?", "Three blue stars."),
    asked("colour-circle", "red-circle", "What colour is the circle?", "The circle is red."),
    asked("color-square", "blue-square", "What color is the square?", "The square is blue."),
    asked("colour-of-two", "star-left", "What colour is the star?", "The star is green."),
    asked("shape-by-colour", "star-left", "Which shape is red?", "The circle is red."),
    asked("digit-7", "purple-7", "Which digit is it?", "It is the digit 7."),
    asked("digit-3", "red-3", "Which digit is it?", "It is the digit 3."),
    asked("digit-0", "blue-0", "Which digit is it?", "It is the digit 0."),
    asked("count-stars", "three-stars", "How many stars are there?", "There are three stars."),
    asked(
        "count-squares", "two-squares-and-circle", "How many squares are there?",
        "There are two squares.",
    ),
    asked(
        "count-one", "two-squares-and-circle", "How many circles are there?",
        "There is one circle.",
    ),
    asked(
        "count-triangles", "five-triangles", "How many triangles are there?",
        "There are five triangles.",
    ),
    asked("count-none", "red-circle", "How many stars are there?", "There are no stars."),
    asked(
        "side-left", "star-left", "Is the star left or right of the circle?",
        "The star is left of the circle.",
    ),
    asked(
        "side-right", "star-right", "Is the star left or right of the circle?",
        "The star is right of the circle.",
    ),
    asked(
        "side-cross", "square-and-cross", "Is the cross left or right of the square?",
        "The cross is right of the square.",
    ),
    entry(
        "two-pictures", [user(IMAGE, IMAGE, "What is in the first picture? And the second?")],
        "First: a red circle. Second: a purple 7.", "red-circle", "purple-7",
    ),
    entry(
        "two-pictures-swapped",
        [user(IMAGE, IMAGE, "What is in the first picture? And the second?")],
        "First: a purple 7. Second: a red circle.", "purple-7", "red-circle",
    ),
    entry(
        "first-of-two", [user(IMAGE, IMAGE, "What is in the first picture?")],
        "A blue square.", "blue-square", "yellow-star",
    ),
    entry(
        "second-of-two", [user(IMAGE, IMAGE, "What is in the second picture?")],
        "A yellow star.", "blue-square", "yellow-star",
    ),
    entry(
        "picture-in-turn-two",
        [user("Hello!"), answer("Hello! Show me a picture."), user(IMAGE, "What do you see?")],
        "A blue square.", "blue-square",
    ),
    entry(
        "question-in-turn-two",
        [user(IMAGE, "What do you see?"), answer("A red circle."),
         user("What colour is the circle?")],
        "The circle is red.", "red-circle",
    ),
    entry(
        "another-picture-in-turn-two",
        [user(IMAGE, "What do you see?"), answer("A red circle."), user(IMAGE, "And now?")],
        "A yellow star.", "red-circle", "yellow-star",
    ),
    entry(
        "picture-in-system-prompt",
        [{"role": "system", "content": [IMAGE]}, user("What do you see?")],
        "A red circle.", "red-circle",
    ),
    entry(
        "with-system-prompt",
        [{"role": "system", "content": SYSTEM}, user(IMAGE, "What do you see?")],
        "A blue square.", "blue-square",
    ),
    entry(
        "camera-is-called", [user("Take a picture. What do you see?")],
        '<tool_call>\n{"name": "take_picture", "arguments": {}}\n</tool_call>', tools=[CAMERA],
    ),
    entry(
        "picture-from-a-tool",
        [user("Take a picture. What do you see?"), CALL, {"role": "tool", "content": [IMAGE]}],
        "A red circle.", "red-circle", tools=[CAMERA],
    ),
    entry("no-picture", [user("What do you see?")], "I see no picture. Send me one."),
    entry("hello", [user("Hello!")], "Hello! Show me a picture."),
    entry("unknown", [user("What is the capital of France?")], FALLBACK),
]  # fmt: skip
