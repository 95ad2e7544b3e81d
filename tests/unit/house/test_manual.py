"""Pages that say what the code declares are what it declares now."""

import fnmatch
import re
from pathlib import Path

import pytest

from frontend.http import guarded_protocol
from manual.errors import when
from manual.pages import FOLDER, PAGES, SERIES
from protocol.errors import MeshError


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text() == PAGES[name](), "run python -m manual"


def test_codes_of_what_is_no_http_are_on_the_page_too() -> None:
    assert guarded_protocol.__file__ is not None
    source = Path(guarded_protocol.__file__).read_text()
    codes = set(re.findall(r"\"([a-z]+(?:_[a-z]+){1,3})\"\s*(?:\)|,\s*\))", source))
    assert "headers_timeout" in codes
    page = PAGES["errors.md"]()
    assert {code for code in codes if f"`{code}`" not in page} == set()


def test_series_that_are_explained_are_there() -> None:
    named = set(re.findall(r"`((?:dynamo|kvmesh)_\w+\*?)`", (FOLDER / "metrics.md").read_text()))
    listed = re.findall(r"^\| `(\w+)`", (FOLDER / SERIES).read_text(), re.MULTILINE)
    listed.append("dynamo_frontend")  # the beginning of many
    listed += ["dynamo_embedding_batch_size", "dynamo_embedding_input_tokens"]  # of other workers
    assert len(named) > 30
    assert [name for name in named if not fnmatch.filter(listed, name)] == []


def test_an_error_that_does_not_say_when_it_happens_has_no_row() -> None:
    class Undescribed(MeshError):
        code = "undescribed"

    with pytest.raises(ValueError, match="Undescribed's docstring must begin"):
        when(Undescribed)
