"""The order of test files names files that are there."""

from pathlib import Path

from tests.kit.order import FIRST, LAST

ROOT = Path(__file__).parents[3]


def test_every_file_that_has_a_place_is_there() -> None:
    named = [file for files in (*FIRST, LAST) for file in files]
    assert [file for file in named if not (ROOT / file).is_file()] == []
    assert len(set(named)) == len(named)
