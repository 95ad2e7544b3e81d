"""Fleets for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.security.probed_fleet import ProbedFleet


@pytest.fixture(scope="module")
def probed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProbedFleet]:
    """A frontend that is measured, and simulated workers, for all tests of a module."""
    fleet = ProbedFleet(tmp_path_factory.mktemp("probed"))
    yield fleet
    fleet.stop()
