"""Fleets for the tests of this folder."""

from collections.abc import Iterator

import pytest

from starter.process import Process
from tests.kit.fleet import Fleet
from tests.security.probed_fleet import ProbedFleet


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbedFleet]:
    """A frontend that is measured, and simulated workers, for all tests of a module."""
    fleet = ProbedFleet(tmp_path_factory.mktemp("probed"))
    yield fleet
    fleet.stop()


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Process]]:
    """A frontend, whose process is told, and one simulated worker, for all tests of a module."""
    fleet = Fleet(tmp_path_factory.mktemp("fleet"))
    frontend = fleet.frontend()
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "4096")
    fleet.wait_for_workers(1)
    yield fleet, frontend
    fleet.stop()
