"""The four plain package names are ours alone."""

import sys
from pathlib import Path

import pytest

from protocol.process.packaging import foreign_owners, require_own_packages
from protocol.process.start_error import StartError


def test_no_other_distribution_installs_our_packages() -> None:
    assert foreign_owners() == []


def test_a_package_from_elsewhere_is_noticed_at_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_own_packages()
    (tmp_path / "kv_events").mkdir()
    (tmp_path / "kv_events" / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "kv_events", raising=False)
    with pytest.raises(StartError, match="kv_events"):
        require_own_packages()
