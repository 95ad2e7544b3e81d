"""transformers on a torch without CUDA.

torchvision's published wheel expects CUDA operators, so that importing it, as transformers does for
any model, dies on a CPU torch. Declaring the two operators that it describes at import is enough;
none is ever called.
"""

import os
from pathlib import Path
from typing import Any

import torch

_declared: list[torch.library.Library] = []


def declare_vision_operators() -> None:
    """Does nothing where torch has CUDA, or where SGLang's CPU mode declares them itself."""
    if (
        _declared
        or torch.version.cuda is not None
        or os.environ.get("SGLANG_USE_CPU_ENGINE") == "1"
    ):
        return
    library = torch.library.Library("torchvision", "DEF")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _declared.append(library)


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer with its chat template, as any client of transformers gets it."""
    declare_vision_operators()
    from transformers import AutoTokenizer  # noqa: PLC0415  # not before the operators are declared

    return AutoTokenizer.from_pretrained(folder)


def load_model(folder: Path, dtype: torch.dtype) -> Any:
    """The model in evaluation mode, with plain attention."""
    declare_vision_operators()
    from transformers import Qwen3ForCausalLM  # noqa: PLC0415

    return Qwen3ForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def untrained_model(**shape: Any) -> Any:
    """A Qwen3 with random weights."""
    declare_vision_operators()
    from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415

    config = Qwen3Config(eos_token_id=None, bos_token_id=None, **shape)
    config._attn_implementation = "sdpa"
    return Qwen3ForCausalLM(config)
