"""Fleets for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

from tests.fleet.lora_adapter import write_adapter
from tests.fleet.real_fleets import RealFleets
from tests.fleet.seeing import ADAPTER, FAMILIES, run
from tests.kit.fleet import Fleet
from workers.demo_model import demo_model_dir


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """An empty fleet for one test."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.stop()


@pytest.fixture(scope="session")
def real_fleets(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealFleets]:
    """Fleets with real SGLang."""
    fleets = RealFleets(tmp_path_factory)
    yield fleets
    fleets.stop()


@pytest.fixture(scope="session")
def seeing_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tiny models that see, one of each family, beside an adapter for the demo that does."""
    folder = tmp_path_factory.mktemp("seeing")
    run("build", folder)
    write_adapter(folder / ADAPTER, 3, demo_model_dir("vision"))
    return {family: folder / family for family in FAMILIES}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend with two fast sim workers of the model "demo", for all tests of a module."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    fleet.frontend()
    for _ in range(2):
        fleet.worker(
            "--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "4096"
        )
    fleet.wait_for_workers(2)
    yield fleet
    fleet.stop()


@pytest.fixture
def client(shared: Fleet) -> Iterator[openai.OpenAI]:
    """The unmodified OpenAI client."""
    with shared.client() as client:
        yield client
