"""What pages say of paths and metrics is so on a mesh that runs.

What else the page for those who come from Dynamo has is looked at by
tests/unit/house/test_coming_from_dynamo.py.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from manual import series
from manual.mesh import Scraped, scrape, start
from manual.pages import FOLDER, SERIES
from tests.kit.dynamo_page import NONE, rows
from tests.kit.dynamo_page import names as names_in
from tests.kit.fleet import Fleet
from workers.system.pages import CONTROLS_PATH

_PATH = re.compile(r"(GET|POST) (/\S+)")


@dataclass
class Mesh:
    """A frontend and a simulated worker, by the addresses of their pages, and what they showed."""

    frontend: str
    worker: str
    shown: Scraped

    def series(self, of: str) -> set[str]:
        """The names of all series, those without a sample so far among them."""
        text: str = getattr(self.shown, of)
        return set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    fleet = Fleet(tmp_path_factory.mktemp("mesh"))
    worker = start(fleet)
    yield Mesh(fleet.url, worker, scrape(fleet, worker))
    fleet.stop()


def _is_there(url: str, path: str) -> bool:
    """Whether somebody answers, be it that the body is wrong."""
    method, _, pattern = path.partition(" ")
    address = url + pattern.replace("{id}", "demo")
    answer = httpx.request(method, address, json=[] if method == "POST" else None)
    return answer.status_code != 405 and "route_not_found" not in answer.text


@pytest.mark.parametrize("of", ["frontend", "worker"])
def test_paths_are_as_the_page_says(mesh: Mesh, of: str) -> None:
    url = getattr(mesh, of)
    wrong: list[str] = []
    for row in rows(f"Paths of a {of}"):
        ours = {*row.ours, *names_in(row.told)}
        missing = {*row.theirs} if row.here == NONE else {*row.theirs} - ours
        for path in filter(_PATH.fullmatch, ours):
            # which of these an engine has goes by the engine, and by no page of the simulated one
            if CONTROLS_PATH not in path:
                wrong += [] if _is_there(url, path) else [f"{path} is not there"]
        for path in filter(_PATH.fullmatch, missing):
            wrong += [f"{path} is there"] if _is_there(url, path) else []
    assert wrong == []


@pytest.mark.parametrize("of", ["frontend", "worker"])
def test_metrics_are_as_the_page_says(mesh: Mesh, of: str) -> None:
    there = mesh.series(of)
    told = rows(f"Metrics of a {of}")
    ours = {name for row in told for name in row.ours}
    theirs = {name for row in told for name in row.theirs} - ours
    assert len(ours) > 15
    assert ours - there == set()
    assert theirs & there == set()


def test_every_series_with_a_name_of_dynamos_is_on_the_page(mesh: Mesh) -> None:
    there = mesh.series("frontend") | mesh.series("worker")
    told = {name for row in rows("Metrics") for name in row.ours}
    assert {name for name in there if name.startswith("dynamo_")} - told == set()


def test_fields_of_nvext_that_are_not_here_are_ignored_by_name_or_refused(mesh: Mesh) -> None:
    chat = {"model": "demo", "max_tokens": 1, "messages": [{"role": "user", "content": "hello"}]}
    for row in (row for row in rows("Fields") if row.here == NONE):
        for field in row.theirs:
            body = chat | {"nvext": {field: [1]}}
            answer = httpx.post(f"{mesh.frontend}/v1/chat/completions", json=body)
            if row.told.startswith("400"):
                assert answer.status_code == 400
                assert answer.json()["error"]["param"] == f"nvext.{field}"
            else:
                assert answer.status_code == 200
                assert answer.headers["x-kvmesh-ignored"] == f"nvext.{field}"


def test_the_page_of_series_is_what_the_mesh_shows(mesh: Mesh) -> None:
    assert (FOLDER / SERIES).read_text() == series.page(mesh.shown), "run python -m manual"
