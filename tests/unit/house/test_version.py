"""One version, said in two places."""

import tomllib
from pathlib import Path

from protocol.process.packaging import VERSION


def test_the_version_that_is_told_is_the_projects() -> None:
    assert (
        tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"][
            "version"
        ]
        == VERSION
    )
