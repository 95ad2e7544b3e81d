"""What all tests share."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# An example that takes long on a machine that is busy with other things is no finding.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.hookimpl(tryfirst=True)  # xdist reads the groups in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share fixtures stay in one process, and what runs real SGLang begins first: so two processes end together.

    A file is one group; `tests/sglang` is one whole, since its files share an engine.
    """
    items.sort(key=lambda item: item.get_closest_marker("sglang") is None)
    for item in items:
        shared = item.path.parent if item.path.parent.name == "sglang" else item.path
        item.add_marker(pytest.mark.xdist_group(str(shared.relative_to(item.config.rootpath))))


@pytest.fixture(autouse=True, scope="module")
def _torch_stays_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """A module that brings torch into pytest's process fails: with it that process ends with a segmentation fault at times."""
    yield
    assert "torch" not in sys.modules, f"{request.node.name}, or what ran before it, imported torch: run it as a program of its own"
