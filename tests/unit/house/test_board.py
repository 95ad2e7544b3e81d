"""Grafana's board is one that Grafana can show: there is none in CI to find out."""

import itertools
import shutil
import subprocess
from typing import Any

import pytest

from tests.kit.board import board
from tests.kit.prometheus import CONFIG

SOURCE = {"type": "prometheus", "uid": "${datasource}"}
FIRST_ROW = {
    "Requests",
    "Errors",
    "First token",
    "Between tokens",
    "Waiting",
    "Tokens",
    "Cache hits",
    "Workers ready",
}


def _panels() -> list[dict[str, Any]]:
    return board()["panels"]


def test_panels_have_numbers_of_their_own_and_ask_the_source_that_is_chosen() -> None:
    panels = _panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == SOURCE
        assert panel["title"]
        assert panel["description"]
        letters = [target["refId"] for target in panel["targets"]]
        assert letters
        assert len(set(letters)) == len(letters)
        assert all(target["legendFormat"] for target in panel["targets"])


def test_panels_lie_side_by_side_and_each_below_its_row() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in _panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        columns = range(place["x"], place["x"] + place["w"])
        for cell in itertools.product(columns, range(place["y"], place["y"] + place["h"])):
            assert cell not in taken, f"{panel['title']} lies over {taken[cell]}"
            taken[cell] = panel["title"]
    tops = [panel["gridPos"]["y"] for panel in _panels()]
    assert tops == sorted(tops)


def test_what_one_looks_at_first_is_in_the_first_row() -> None:
    first, *rest = _panels()
    assert first["type"] == "row"
    shown = list(itertools.takewhile(lambda panel: panel["type"] != "row", rest))
    assert {panel["title"] for panel in shown} == FIRST_ROW
    assert len({panel["gridPos"]["y"] for panel in shown}) == 1


@pytest.mark.skipif(
    shutil.which("promtool") is None,
    reason="there is no promtool on this machine (Debian's package prometheus has it)",
)
def test_promtool_takes_the_configuration() -> None:
    checked = subprocess.run(
        ["promtool", "check", "config", "--lint=all", "--lint-fatal", CONFIG],
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
