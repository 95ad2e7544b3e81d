"""Golden answers: greedy ones that hang neither on the dtype nor on the kernel."""

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from struct import pack
from typing import Any

import torch

from tests.demo_model.decoding import Decoded

Entry = dict[str, Any]
DTYPES = (torch.float32, torch.bfloat16)
"""An answer must be the same in each."""


def arguments(about: str | None, model: Path, out: Path) -> argparse.Namespace:
    """Which `model` is asked, and the folder `out` for its answers, unless told otherwise."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", type=Path, default=model)
    parser.add_argument("--out", type=Path, default=out)
    return parser.parse_args()


def answered(
    tokenizer: Any, ids: list[int], answers: Sequence[Decoded], margin_min: float
) -> tuple[Entry, bool]:
    """(what an entry says of its answer to a prompt of these ids, whether the answer is steady: the
    same in every dtype, with a lead of so many nats).
    """
    first = answers[0]
    margin = min(answer.margin_min for answer in answers)
    fields = {
        "prompt_token_ids_sha256": sha256(pack(f"<{len(ids)}I", *ids)).hexdigest(),
        "text": tokenizer.decode(first.token_ids),
        "token_ids": first.token_ids,
        "finish": first.finish,
        "margin_min": round(margin, 2),
    }
    same = all(answer.token_ids == first.token_ids for answer in answers)
    return fields, same and margin >= margin_min


def write(
    folder: Path, prompts: Iterable[Entry], golden: Callable[[Entry], tuple[Entry, bool]]
) -> list[Entry]:
    """Writes `golden.json` and returns its entries; prints each answer, and names what is left out.

    Args:
        golden: the entry with its answer, and whether it is to be kept.
    """
    torch.set_num_threads(1)
    kept: list[Entry] = []
    for prompt in prompts:
        entry, fit = golden(prompt)
        mark = "" if fit else "LEFT OUT "
        print(f"{mark}{entry['name']}: {entry['margin_min']} {entry['finish']}", flush=True)
        print(f"  {entry['text']!r}", flush=True)
        if fit:
            kept.append(entry)
    lines = ",\n".join(json.dumps(entry, ensure_ascii=False) for entry in kept)
    folder.mkdir(exist_ok=True, parents=True)
    (folder / "golden.json").write_text(f"[\n{lines}\n]\n", "utf-8")
    print(f"{len(kept)} kept, smallest margin {min(entry['margin_min'] for entry in kept)}")
    return kept
