"""What all tests share."""

import sys
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# An example that takes long on a machine that is busy with other things is no finding.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What runs real SGLang begins first, so that two processes end together."""
    items.sort(key=lambda item: item.get_closest_marker("sglang") is None)


@pytest.fixture(autouse=True, scope="module")
def _torch_stays_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """A module that brings torch into pytest's process fails: with it that process ends with a
    segmentation fault at times.
    """
    yield
    assert "torch" not in sys.modules, (
        f"{request.node.name}, or what ran before it, imported torch: run it as a program of "
        "its own"
    )
