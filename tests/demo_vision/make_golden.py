"""Writes `golden.json` and `pictures/`: `python -m tests.demo_vision.make_golden`.

Right greedy answers on which float32 and bfloat16 agree with room to spare.
"""

import argparse
import io
import json
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Any

import torch
from numpy.typing import NDArray

from tests.demo_vision.decoding import TOKENS_MAX, Seer
from tests.demo_vision.drawing import draw
from tests.demo_vision.golden_prompts import PICTURES, PROMPTS, Entry
from tests.demo_vision.train import MODEL_FOLDER

HERE = Path(__file__).parent
MARGIN_MIN = 1.0
"""Nats between the chosen token and the next. Room for other kernels, and for an encoder's own."""


def png_of(pixels: NDArray[Any]) -> bytes:
    """The file of a picture."""
    from PIL import Image  # noqa: PLC0415

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def golden(prompt: Entry, seers: list[Seer]) -> tuple[Entry, bool]:
    """(the entry with its answer, whether it is right, and steady enough for other kernels)."""
    text = seers[0].text_of(prompt["messages"], prompt.get("tools"))
    pictures = [draw(PICTURES[name]) for name in prompt["pictures"]]
    answers = [seer.decode(text, pictures) for seer in seers]
    first, tokenizer = answers[0], seers[0].processor.tokenizer
    margin = min(answer.margin_min for answer in answers)
    said = tokenizer.decode(first.token_ids)
    steady = (
        margin >= MARGIN_MIN
        and said == prompt["text"]
        and all(answer.token_ids == first.token_ids for answer in answers)
    )
    ids = tokenizer.encode(text, add_special_tokens=False)
    whole, seen = seers[0].prompt_tokens(text, pictures)
    done = {
        **prompt,
        "text": said,
        "max_tokens": TOKENS_MAX,
        "prompt_tokens": whole,
        "image_tokens": seen,
        "prompt_token_ids_sha256": sha256(pack(f"<{len(ids)}I", *ids)).hexdigest(),
        "token_ids": first.token_ids,
        "finish": first.finish,
        "margin_min": round(margin, 2),
    }
    return done, steady


def main() -> None:
    """Prints each answer; leaves out, and names, what is not right or not steady."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--model", type=Path, default=MODEL_FOLDER)
    arguments.add_argument("--out", type=Path, default=HERE)
    options = arguments.parse_args()
    torch.set_num_threads(1)
    seers = [Seer(options.model, dtype) for dtype in (torch.float32, torch.bfloat16)]
    kept: list[Entry] = []
    for prompt in PROMPTS:
        entry, steady = golden(prompt, seers)
        mark = "" if steady else "LEFT OUT "
        print(f"{mark}{entry['name']}: {entry['margin_min']} {entry['text']!r}", flush=True)
        if steady:
            kept.append(entry)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in kept)
    options.out.mkdir(exist_ok=True, parents=True)
    (options.out / "golden.json").write_text(f"[\n{lines}\n]\n", "utf-8")
    (options.out / "pictures").mkdir(exist_ok=True)
    for name in sorted({name for entry in kept for name in entry["pictures"]}):
        (options.out / "pictures" / f"{name}.png").write_bytes(png_of(draw(PICTURES[name])))
    print(f"{len(kept)} of {len(PROMPTS)} kept")


if __name__ == "__main__":
    main()
