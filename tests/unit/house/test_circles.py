"""The house has no circle: no files and no folders that need each other."""

from pathlib import Path

import pytest

from tests.unit.house.measures import Arrows, arrows_of, between_neighbours, circles

ROOT = Path(__file__).parents[3]


def test_no_file_and_no_folder_needs_what_needs_it() -> None:
    arrows = arrows_of(ROOT)
    assert len(arrows) > 200
    assert circles(arrows) == []
    assert circles(between_neighbours(arrows)) == []


@pytest.mark.parametrize(
    ("arrows", "found"),
    [
        # two folders that use each other, by files that do not
        ({"p.a.x": {"p.b.y"}, "p.b.z": {"p.a.w"}}, [["p.a", "p.b"]]),
        # the same, by what lies deeper
        ({"p.a.c.x": {"p.b.y"}, "p.b.z": {"p.a.d.w"}}, [["p.a", "p.b"]]),
        # over a third
        ({"p.a.x": {"p.b.x"}, "p.b.x": {"p.c.x"}, "p.c.x": {"p.a.y"}}, [["p.a", "p.b", "p.c"]]),
        # two packages
        ({"p.x": {"q.x"}, "q.y": {"p.y"}}, [["p", "q"]]),
        # a file that uses the folder beside it, and is used there
        ({"p.root": {"p.a.x"}, "p.a.y": {"p.root"}}, [["p.a", "p.root"]]),
        # a root that uses the folder, and a Protocol that the folder uses: neither needs itself
        ({"p.root": {"p.a.x"}, "p.a.x": {"p.protocol"}}, []),
        # what a package holds itself is used by one of its files, and uses another
        ({"p.a": {"p.a.x"}, "p.a.y": {"p.a"}}, []),
        ({"p.a": {"p.a.x"}, "p.a.x": {"p.a"}}, [["p.a.__init__", "p.a.x"]]),
    ],
)
def test_circles_are_seen(arrows: Arrows, found: list[list[str]]) -> None:
    assert circles(between_neighbours(arrows)) == found
