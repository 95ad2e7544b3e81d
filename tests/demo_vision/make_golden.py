"""Writes `golden.json` and `pictures/`: `python -m tests.demo_vision.make_golden`.

Right greedy answers on which float32 and bfloat16 agree with room to spare.
"""

import io
from functools import partial
from typing import Any

from numpy.typing import NDArray

from tests.demo_model.golden_answers import DTYPES, Entry, answered, arguments, write
from tests.demo_vision.decoding import TOKENS_MAX, Seer
from tests.demo_vision.drawing import draw
from tests.demo_vision.golden import HERE
from tests.demo_vision.golden_prompts import PICTURES, PROMPTS
from tests.demo_vision.train import MODEL_FOLDER

MARGIN_MIN = 1.0
"""Nats between the chosen token and the next. Room for other kernels, and for an encoder's own."""


def png_of(pixels: NDArray[Any]) -> bytes:
    """The file of a picture."""
    from PIL import Image  # noqa: PLC0415

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def golden(seers: list[Seer], prompt: Entry) -> tuple[Entry, bool]:
    """(the entry with its answer, whether it is right, and steady enough for other kernels)."""
    tokenizer = seers[0].processor.tokenizer
    text = seers[0].text_of(prompt["messages"], prompt.get("tools"))
    pictures = [draw(PICTURES[name]) for name in prompt["pictures"]]
    answers = [seer.decode(text, pictures) for seer in seers]
    ids = tokenizer.encode(text, add_special_tokens=False)
    fields, steady = answered(tokenizer, ids, answers, MARGIN_MIN)
    whole, seen = seers[0].prompt_tokens(text, pictures)
    counts = {"max_tokens": TOKENS_MAX, "prompt_tokens": whole, "image_tokens": seen}
    return {**prompt, **counts, **fields}, steady and fields["text"] == prompt["text"]


def main() -> None:
    """Draws the pictures of what is kept, too."""
    options = arguments(__doc__, MODEL_FOLDER, HERE)
    seers = [Seer(options.model, dtype) for dtype in DTYPES]
    kept = write(options.out, PROMPTS, partial(golden, seers))
    (options.out / "pictures").mkdir(exist_ok=True)
    for name in sorted({name for entry in kept for name in entry["pictures"]}):
        (options.out / "pictures" / f"{name}.png").write_bytes(png_of(draw(PICTURES[name])))


if __name__ == "__main__":
    main()
