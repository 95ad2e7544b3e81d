"""A model's files say whether it sees, and by which part: two workers whose files say the same of
that part make the same vectors of a picture. Imports no SGLang.
"""

import json
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, cast

_NAME_CHARS: Final = 16
"""64 bits tell the handful of models of a fleet apart."""

GRID_ARCHITECTURES: Final = frozenset(
    (
        "Qwen2VLForConditionalGeneration",
        "Qwen2_5_VLForConditionalGeneration",
        "Qwen3VLForConditionalGeneration",
        "Qwen3VLMoeForConditionalGeneration",
        "Qwen3_5ForConditionalGeneration",
        "Qwen3_5MoeForConditionalGeneration",
    )
)
"""Of these architectures SGLang's encoder makes vectors, and needs for a picture's place in the
prompt no more than its grid (`image_grid_thw`).
"""

_WEIGHTS: Final = "model.safetensors"
_WEIGHTS_INDEX: Final = "model.safetensors.index.json"


def sees(config: Mapping[str, Any]) -> bool:
    """Tells whether a model's configuration has a part that sees."""
    return isinstance(config.get("vision_config"), Mapping)


def has_grids(config: Mapping[str, Any]) -> bool:
    """Tells whether all that a language model needs of an encoded picture is its grid."""
    return not GRID_ARCHITECTURES.isdisjoint(config.get("architectures") or ())


def encoder_name(model_dir: Path) -> str:
    """Returns the name of the part that sees, 16 hex digits; empty where the files have none.

    It is made of what decides over its vectors: architecture and sizes, how pictures are prepared,
    and which weights there are, of what types and shapes. The weights themselves are not read:
    they are tens of gigabytes.
    """
    config = _config(model_dir)
    if not sees(config):
        return ""
    text = cast("Mapping[str, Any]", config.get("text_config") or {})
    said = {
        "architectures": config.get("architectures"),
        "vision_config": config.get("vision_config"),
        "hidden_sizes": [config.get("hidden_size"), text.get("hidden_size")],
    }
    digest = sha256()
    for part in (
        json.dumps(said, sort_keys=True).encode(),
        _bytes_of(model_dir / "preprocessor_config.json"),
        _bytes_of(model_dir / _WEIGHTS_INDEX) or _header_of(model_dir / _WEIGHTS),
    ):
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()[:_NAME_CHARS]


def _config(model_dir: Path) -> Mapping[str, Any]:
    try:
        config = json.loads(_bytes_of(model_dir / "config.json") or b"{}")
    except ValueError:
        return {}
    return cast("Mapping[str, Any]", config) if isinstance(config, dict) else {}


def _bytes_of(path: Path) -> bytes:
    """Returns what a file holds; nothing where there is none."""
    return path.read_bytes() if path.is_file() else b""


def _header_of(path: Path) -> bytes:
    """Returns the JSON at the head of a safetensors file; nothing where there is none."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        return file.read(min(size, path.stat().st_size))
