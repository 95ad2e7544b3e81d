"""Dialogues about pictures, drawn at random, and small talk without any."""

from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.demo_vision.drawing import Scene
from tests.demo_vision.questions import NO_PICTURE, SEE, Asked, ask, describe, digit, see, sentence
from tests.demo_vision.scenes import any_scene, plain_scene
from tests.demo_vision.small_talk import FALLBACK, NONSENSE, TALK

Message = dict[str, Any]
IMAGE: Message = {"type": "image"}
SYSTEM = "You are a helpful assistant."
FIRST = ("What is in the first picture?", "What does the first picture show?")
SECOND = ("What is in the second picture?", "What does the second picture show?")
BOTH = (
    "What is in the first picture? And the second?",
    "What do you see in the two pictures?",
    "What do you see?",
    "Describe both pictures.",
)
AGAIN = ("And now?", "What do you see now?", "And this one?", "What is in this picture?")
CAMERA: Message = {
    "type": "function",
    "function": {
        "name": "take_picture",
        "description": "Takes a picture.",
        "parameters": {"type": "object", "properties": {}},
    },
}
LOOK = (
    "Take a picture. What do you see?",
    "Look around. What do you see?",
    "What does the camera see?",
)
CALL: Message = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"function": {"name": "take_picture", "arguments": {}}}],
}


@dataclass(frozen=True)
class Dialogue:
    """Messages that end with an assistant turn, and the scenes of their pictures in order."""

    kind: str
    messages: list[Message]
    scenes: list[Scene] = field(default_factory=list)
    tools: list[Message] = field(default_factory=list)


def draw_dialogue(rng: Random) -> Dialogue:
    """One training dialogue."""
    draw = rng.random()
    if draw < 0.68:
        return about_one(rng, any_scene(rng))
    if draw < 0.80:
        return about_two(rng)
    if draw < 0.86:
        return one_after_another(rng)
    if draw < 0.90:
        return through_the_camera(rng)
    return without_picture(rng)


def user(*parts: Message | str) -> Message:
    """A user's message of pictures and texts."""
    content = [{"type": "text", "text": part} if isinstance(part, str) else part for part in parts]
    return {"role": "user", "content": content}


def answer(text: str) -> Message:
    """The assistant's."""
    return {"role": "assistant", "content": text}


def about_one(rng: Random, scene: Scene) -> Dialogue:
    """Several questions about one picture, which comes before or behind the first one's words."""
    # No answer twice, which would only have to be copied.
    drawn = {asked.answer: asked for asked in (ask(scene, rng) for _ in range(8))}
    questions = list(drawn.values())[: rng.choice((1, 3, 4, 5))]
    first = _worded(questions[0], rng)
    messages = opening(rng)
    if rng.random() < 0.04:  # the picture is in the system prompt
        messages = [{"role": "system", "content": [IMAGE]}, user(first)]
    else:
        messages.append(user(IMAGE, first) if rng.random() < 0.75 else user(first, IMAGE))
    messages.append(answer(questions[0].answer))
    for asked in questions[1:]:
        messages += [user(_worded(asked, rng)), answer(asked.answer)]
    return Dialogue(questions[0].kind, messages, [scene])


def about_two(rng: Random) -> Dialogue:
    """Two pictures in one message."""
    scenes = [plain_scene(rng), plain_scene(rng)]
    said = [sentence(describe(scene)) for scene in scenes]
    both = sentence(f"first: {describe(scenes[0])}. Second: {describe(scenes[1])}")
    turns = [
        (rng.choice(questions), said)
        for questions, said in zip((BOTH, FIRST, SECOND), (both, *said), strict=True)
    ]
    rng.shuffle(turns)
    del turns[rng.randint(1, 3) :]
    first = turns[0][0]
    messages = opening(rng)
    messages.append(user(IMAGE, first, IMAGE) if rng.random() < 0.1 else user(IMAGE, IMAGE, first))
    messages.append(answer(turns[0][1]))
    for question, said in turns[1:]:
        messages += [user(_hurried(question, rng)), answer(said)]
    return Dialogue("two", messages, scenes)


def one_after_another(rng: Random) -> Dialogue:
    """A new picture in each of several turns: the question is about the last."""
    scenes = [plain_scene(rng) for _ in range(rng.choice((2, 2, 3)))]
    messages = opening(rng)
    for number, scene in enumerate(scenes):
        asked = see(scene, rng) if rng.random() < 0.6 else ask(scene, rng)
        question = rng.choice(AGAIN) if number and asked.kind == "see" else _worded(asked, rng)
        messages += [user(IMAGE, question), answer(asked.answer)]
    return Dialogue("turns", messages, scenes)


def through_the_camera(rng: Random) -> Dialogue:
    """A tool takes the picture."""
    scene = plain_scene(rng)
    asked = ask(scene, rng)
    messages = [
        *opening(rng),
        user(_hurried(rng.choice(LOOK), rng)),
        CALL,
        {"role": "tool", "content": [IMAGE]},
        answer(sentence(describe(scene))),
        user(_worded(asked, rng)),
        answer(asked.answer),
    ]
    return Dialogue("camera", messages, [scene], [CAMERA])


def without_picture(rng: Random) -> Dialogue:
    """Small talk, and questions about a picture that is not there."""
    messages = opening(rng)
    for _ in range(rng.randint(1, 3)):
        draw = rng.random()
        if draw < 0.6:
            questions, said = rng.choice(TALK)
            question = rng.choice(questions)
        elif draw < 0.75:
            question, said = rng.choice(NONSENSE), FALLBACK
        else:
            scene = any_scene(rng)
            asked = digit(scene, rng) if rng.random() < 0.2 else ask(scene, rng)
            question, said = asked.question, NO_PICTURE
            if rng.random() < 0.3:
                question = rng.choice((*SEE, *FIRST, *SECOND))
        messages += [user(_hurried(question, rng)), answer(said)]
    return Dialogue("talk", messages)


def opening(rng: Random) -> list[Message]:
    """A system prompt, or none."""
    return [{"role": "system", "content": SYSTEM}] if rng.random() < 0.3 else []


def _worded(asked: Asked, rng: Random) -> str:
    return _hurried(asked.question, rng)


def _hurried(question: str, rng: Random) -> str:
    """As a person in a hurry may type it."""
    if rng.random() < 0.2:
        question = question.lower()
    return question.rstrip("?.!") if rng.random() < 0.2 else question
