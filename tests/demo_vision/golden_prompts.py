"""What the demo model that sees is asked for `golden.json`, and the pictures it is shown."""

from typing import Any

from tests.demo_vision.dialogues import CALL, CAMERA, IMAGE, SYSTEM, answer, user
from tests.demo_vision.drawing import DARK, LIGHT, Scene, Thing
from tests.demo_vision.questions import NUMBERS, plural, sentence, with_article
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
    "square-and-cross": scene(
        Thing("square", "purple", 17, 18, 13), Thing("cross", "orange", 80, 47, 13), width=128,
        height=64, dark=True,
    ),
    "large-orange-square": scene(Thing("square", "orange", 160, 120, 70), width=320, height=240),
}  # fmt: skip
"""By file name without .png. The last is reduced before the model sees it."""

PAIRS = (
    (("star", "green"), ("circle", "red")),
    (("square", "blue"), ("triangle", "yellow")),
    (("cross", "purple"), ("circle", "orange")),
    (("triangle", "red"), ("star", "blue")),
    (("circle", "green"), ("square", "purple")),
)
for _one, _other in PAIRS:
    for _left, _right in ((_one, _other), (_other, _one)):
        PICTURES[f"{_left[0]}-left-of-{_right[0]}"] = scene(
            Thing(*_left, 16, 48, 13), Thing(*_right, 80, 48, 13)
        )
FOUR = (
    ((16, 80), (48, 80), (48, 48), (16, 16)),
    ((16, 16), (80, 80), (80, 16), (16, 48)),
)
COUNTED = {
    "one-star": (1, "star", [("star", "blue", 16, 80), ("triangle", "green", 16, 16)]),
    "one-cross": (1, "cross", [("cross", "green", 16, 48), ("star", "red", 16, 16)]),
    "one-circle": (1, "circle", [("circle", "yellow", 80, 16), ("cross", "green", 80, 48)]),
    "one-triangle": (1, "triangle", [("triangle", "red", 16, 16), ("square", "green", 80, 80)]),
    "two-triangles": (
        2,
        "triangle",
        [("triangle", "purple", 48, 80), ("triangle", "purple", 16, 16), ("cross", "red", 80, 80)],
    ),
    "four-stars": (4, "star", [("star", "blue", *at) for at in FOUR[0]]),
    "four-triangles": (4, "triangle", [("triangle", "orange", *at) for at in FOUR[1]]),
}
"""How many of which shape are in pictures, and what is in them."""

for _name, (_, _, _things) in COUNTED.items():
    PICTURES[_name] = scene(*(Thing(what, colour, x, y, 13) for what, colour, x, y in _things))


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
    asked(
        "see-star-left", "star-left-of-circle", "What do you see?",
        "A green star and a red circle.",
    ),
    asked(
        "see-star-right", "circle-left-of-star", "What do you see?",
        "A red circle and a green star.",
    ),
    asked("colour-circle", "red-circle", "What colour is the circle?", "The circle is red."),
    asked("color-square", "blue-square", "What color is the square?", "The square is blue."),
    asked("colour-of-two", "star-left-of-circle", "What colour is the star?", "The star is green."),
    asked("shape-by-colour", "star-left-of-circle", "Which shape is red?", "The circle is red."),
    asked("digit-7", "purple-7", "Which digit is it?", "It is the digit 7."),
    asked("digit-3", "red-3", "Which digit is it?", "It is the digit 3."),
    asked("digit-0", "blue-0", "Which digit is it?", "It is the digit 0."),
    asked("count-none", "red-circle", "How many stars are there?", "There are no stars."),
    asked("beside", "square-and-cross", "What is left of the cross?", "A purple square."),
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
for _one, _other in PAIRS:
    for _left, _right in ((_one, _other), (_other, _one)):
        _name = f"{_left[0]}-left-of-{_right[0]}"
        for _where, (_what, _colour) in (("left", _left), ("right", _right)):
            PROMPTS.append(
                asked(
                    f"side-{_where}-{_name}",
                    _name,
                    f"What is on the {_where}?",
                    sentence(with_article(f"{_colour} {_what}")),
                )
            )
for _name, (_number, _shape, _) in COUNTED.items():
    _counted = _shape if _number == 1 else plural(_shape)
    _are = "is" if _number == 1 else "are"
    PROMPTS.append(
        asked(
            f"count-{_name}",
            _name,
            f"How many {plural(_shape)} are there?",
            f"There {_are} {NUMBERS[_number]} {_counted}.",
        )
    )
