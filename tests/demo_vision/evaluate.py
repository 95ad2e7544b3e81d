"""Measures the demo model that sees: `python -m tests.demo_vision.evaluate [--sglang]`.

Share of exact greedy answers by kind of question, to pictures that training never drew. With
--sglang also how many of them a real SGLang engine gives word for word.
"""

import argparse
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from random import Random

import torch

from tests.demo_vision import engine
from tests.demo_vision.decoding import TOKENS_MAX, Seer
from tests.demo_vision.dialogues import (
    IMAGE,
    Dialogue,
    about_two,
    answer,
    one_after_another,
    through_the_camera,
    user,
    without_picture,
)
from tests.demo_vision.drawing import draw
from tests.demo_vision.golden_prompts import PICTURES, PROMPTS
from tests.demo_vision.make_golden import png_of
from tests.demo_vision.questions import ask
from tests.demo_vision.scenes import any_scene
from tests.demo_vision.train import MODEL_FOLDER

SEED = 77_000_000


def trials(count: int) -> list[Dialogue]:
    """`count` questions about one picture each, some of each longer sort, and the goldens."""
    rng = Random(SEED)
    made: list[Dialogue] = []
    for _ in range(count):
        scene = any_scene(rng)
        asked = ask(scene, rng)
        messages = [user(IMAGE, asked.question), answer(asked.answer)]
        made.append(Dialogue(asked.kind, messages, [scene]))
    for sort in (about_two, one_after_another, through_the_camera, without_picture):
        made += [sort(rng) for _ in range(count // 12)]
    return made + [
        Dialogue(
            "golden",
            [*prompt["messages"], answer(prompt["text"])],
            [PICTURES[name] for name in prompt["pictures"]],
            prompt.get("tools", []),
        )
        for prompt in PROMPTS
    ]


def in_transformers(folder: Path, dialogues: Iterable[Dialogue]) -> list[str]:
    """What it says to each, in float32."""
    seer = Seer(folder)
    return [
        seer.processor.tokenizer.decode(
            seer.decode(
                seer.text_of(each.messages[:-1], each.tools), [draw(scene) for scene in each.scenes]
            ).token_ids,
            skip_special_tokens=True,
        )
        for each in dialogues
    ]


def in_sglang(folder: Path, dialogues: Iterable[Dialogue], dtype: str) -> list[str]:
    """The same by a real engine."""
    seer = Seer(folder)
    prompts = [
        (
            seer.processor.tokenizer.encode(
                seer.text_of(each.messages[:-1], each.tools), add_special_tokens=False
            ),
            [png_of(draw(scene)) for scene in each.scenes],
        )
        for each in dialogues
    ]
    served = engine.start(folder, dtype)
    try:
        return engine.answers(served, prompts, TOKENS_MAX)
    finally:
        served.shutdown()


def main() -> None:
    """Prints a table, and each miss with --misses."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", type=Path, default=MODEL_FOLDER)
    arguments.add_argument("--count", type=int, default=240)
    arguments.add_argument("--misses", action="store_true")
    arguments.add_argument("--sglang", action="append", default=[], metavar="DTYPE")
    options = arguments.parse_args()
    torch.set_num_threads(1)
    dialogues = trials(options.count)
    wanted = [each.messages[-1]["content"] for each in dialogues]
    said = in_transformers(options.model, dialogues)
    columns = [("right", wanted)] + [
        (f"same in SGLang, {dtype}", in_sglang(options.model, dialogues, dtype))
        for dtype in options.sglang
    ]
    asked = Counter(each.kind for each in dialogues)
    for kind, count in [*asked.items(), ("all", len(dialogues))]:
        shares = []
        for name, others in columns:
            equal = sum(
                here == there
                for each, here, there in zip(dialogues, said, others, strict=True)
                if kind in ("all", each.kind)
            )
            shares.append(f"{equal} {name}")
        print(f"{kind}: of {count} {', '.join(shares)}", flush=True)
    for each, right, here in zip(dialogues, wanted, said, strict=True):
        if options.misses and here != right:
            print(f"{each.messages[-2]['content']}\n    {right!r}\n    {here!r}")


if __name__ == "__main__":
    main()
