"""What programs with SGLang find in their environment in tests."""

import functools
import importlib.util
import pkgutil
from pathlib import Path

_SERVED = {"bert", "qwen3", "qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen2_audio", "sdar"}
"""Files of SGLang that the models of these tests need."""


@functools.cache
def sglang_environment() -> dict[str, str]:
    """Have SGLang import the models that are served, and not all 260 before it serves one: 2 s of
    each start.
    """
    found = importlib.util.find_spec("sglang")
    if found is None or found.origin is None:
        return {}
    names = {
        module.name
        for module in pkgutil.iter_modules([Path(found.origin).parent / "srt" / "models"])
    }
    return {"SGLANG_DISABLED_MODEL_ARCHS": ",".join(sorted(names - _SERVED))}
