"""What is asked about pictures, and how many ask at once."""

import base64
import io
import json
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from PIL import Image

from bench.kit.load import run_load
from bench.kit.workloads import MODEL_NAME

SIDE_PIXELS: Final = 1_024
"""A picture of this side is 1,024 tokens."""

PICTURES: Final = 8
"""So many clients ask about a picture each, at once."""

TEXTS: Final = 32
"""So many clients ask without any."""

REQUEST_S_MAX: Final = 120.0


def picture(random_: random.Random, side_pixels: int) -> str:
    """A JPEG that no other is like, as a data URL."""
    small = Image.frombytes("RGB", (32, 32), random_.randbytes(32 * 32 * 3))
    file = io.BytesIO()
    small.resize((side_pixels, side_pixels), Image.Resampling.BICUBIC).save(file, "JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def chat(words: str, tokens: int, pictures: Sequence[str] = ()) -> dict[str, Any]:
    """A streamed chat of one turn."""
    content: Any = words
    if pictures:
        content = [{"type": "image_url", "image_url": {"url": each}} for each in pictures]
        content.append({"type": "text", "text": words})
    return {
        "model": MODEL_NAME,
        "messages": [{"role": "user", "content": content}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
    }


def write_bodies(file: Path, bodies: Sequence[dict[str, Any]]) -> Path:
    """A line each."""
    file.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    return file


def seeing(seed: int, count: int, side_pixels: int = SIDE_PIXELS) -> list[dict[str, Any]]:
    """Chats about a fresh picture each."""
    random_ = random.Random(seed)
    return [
        chat(f"What is it, number {number}?", 32, [picture(random_, side_pixels)])
        for number in range(count)
    ]


def reading(seed: int, count: int) -> list[dict[str, Any]]:
    """Chats of some 256 tokens, without a picture."""
    random_ = random.Random(seed)
    return [
        chat(" ".join(f"{random_.randrange(1_000)}" for _ in range(64)), 128) for _ in range(count)
    ]


def told(result: dict[str, Any]) -> dict[str, Any]:
    """What of a load is kept."""
    kept: dict[str, Any] = {
        "ok": result["ok"],
        "not_ok": result["started"] - result["ok"],
        "tokens_per_s": result["tokens_per_s"],
        "requests_per_s": result["ok"] / result["wall_s"],
    }
    for key in ("ttft_ms", "gap_ms"):
        for percentile in ("p50", "p99"):
            kept[f"{key[:-3]}_{percentile}_ms"] = result[key] and result[key][percentile]
    return kept


def together(port: int, pictures: Path, texts: Path, duration_s: float) -> dict[str, Any]:
    """Both loads at once for so long."""

    def load(bodies: Path, concurrency: int) -> dict[str, Any]:
        return told(
            run_load(
                port,
                bodies,
                concurrency=concurrency,
                duration_s=duration_s,
                timeout_s=REQUEST_S_MAX,
                errors_allowed=True,
            )
        )

    with ThreadPoolExecutor() as threads:
        seen = threads.submit(load, pictures, PICTURES)
        read = threads.submit(load, texts, TEXTS)
        return {"pictures": seen.result(), "texts": read.result()}


def apart(port: int, bodies: Path, concurrency: int, duration_s: float) -> dict[str, Any]:
    """One load for so long."""
    result = run_load(
        port,
        bodies,
        concurrency=concurrency,
        duration_s=duration_s,
        timeout_s=REQUEST_S_MAX,
        errors_allowed=True,
    )
    return told(result)
