"""The demo model's folder and its golden answers."""

import json
from pathlib import Path
from typing import Any

import pytest

from workers.demo_model import demo_model_dir

DEMO = Path(__file__).parents[2] / "demo_model"


@pytest.fixture(scope="session")
def model_folder() -> Path:
    return demo_model_dir()


@pytest.fixture(scope="session")
def golden() -> list[dict[str, Any]]:
    return json.loads((DEMO / "golden.json").read_text("utf-8"))
