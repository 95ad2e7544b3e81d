"""The queries of the board that deploy/observability gives Grafana."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from starter.process import REPO

BOARD: Final = REPO / "deploy" / "observability" / "grafana" / "kvmesh.json"

ENGINES_ROW: Final = "SGLang (workers with --enable-metrics)"

_VARIABLES: Final = {"$__rate_interval": "30s", "$model": ".*", "$worker": ".*"}
"""What Grafana puts in where all models and workers are chosen."""

_ELSE_ZERO: Final = " or vector(0)"
"""What makes a panel show 0 where nothing of the kind has happened yet: left out here, or there
would always be an answer.
"""


@dataclass(frozen=True)
class Asked:
    """What one line of a panel asks, as Prometheus is asked it."""

    row: str
    panel: str
    query: str


def board() -> dict[str, Any]:
    """The board, as Grafana reads it."""
    return json.loads(BOARD.read_text())


def all_asked() -> Iterator[Asked]:
    """Every query of every panel."""
    row = ""
    for panel in board()["panels"]:
        if panel["type"] == "row":
            row = panel["title"]
        for target in panel.get("targets", []):
            yield Asked(row, panel["title"], _filled(target["expr"]))


def _filled(query: str) -> str:
    for name, value in _VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, f"unknown variable in {query}"
    return re.sub(re.escape(_ELSE_ZERO), "", query)
