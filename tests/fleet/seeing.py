"""Models that see, tiny ones of three families and the demo, and the workers that serve them."""

from pathlib import Path
from typing import Any, Final

from tests.kit.forks import run_with_sglang

PROGRAM: Final = Path(__file__).parents[1] / "sglang" / "tiny_vl.py"
FAMILIES: Final = ("qwen2-vl", "qwen2.5-vl", "qwen3-vl")
ADAPTER: Final = "adapter"
"""The name of an adapter of the demo that sees."""
ASKED: Final = {"extra_fields": ["worker_id", "cached_tokens"]}


def run(*argv: Any, given: str = "") -> str:
    ended = run_with_sglang(PROGRAM, *argv, given=given)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return ended.stdout


def seeing_workers(models: dict[str, Path]) -> list[tuple[str, ...]]:
    """A worker of each family, and the demo that sees, which also takes what others encoded; blocks
    of a page, so that both sides count alike.
    """
    options = ("--dtype", "float32", "--kv-block-size", "16", "--grammar-backend", "none")
    options = (*options, "--max-total-tokens", "2048")
    families = [("--model-path", str(directory), *options) for directory in models.values()]
    adapter = models[FAMILIES[0]].with_name(ADAPTER)
    lora = ("--enable-lora", "--max-loras-per-batch", "2", "--lora-paths", f"{ADAPTER}={adapter}")
    return [*families, ("--demo", "vision", "--multimodal-worker", *options, *lora)]
