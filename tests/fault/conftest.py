"""Fleets for the tests of this folder."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.fleet import Fleet


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    """An empty fleet for one test."""
    fleet = Fleet(tmp_path)
    yield fleet
    fleet.stop()
