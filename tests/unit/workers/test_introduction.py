"""A worker says of each frontend that it cannot reach that there is no way to it."""

from types import SimpleNamespace
from typing import Any

import pytest

from workers.mesh.addresses import ADDRESSES_MAX
from workers.mesh.introduction import Introduction


def no_way(_: str) -> None:
    raise OSError(113, "No route to host")


def test_it_is_said_once_and_what_is_kept_of_addresses_is_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    nothing: Any = None
    plane: Any = SimpleNamespace(source_for=no_way)
    introduction = Introduction("w", 1, hello=None, engine=nothing, adapters=list[str], kv=plane)
    for _ in range(3):
        assert introduction.hello_to("tcp://here:1", 1) is None
    assert caplog.messages == ["no way to the frontend at tcp://here:1: No route to host"]
    for number in range(2 * ADDRESSES_MAX):  # as a name's that stands for another one each time
        introduction.hello_to(f"tcp://gone:{number}", 1)
    assert len(introduction._complaints) == ADDRESSES_MAX
    assert len(caplog.messages) == 1 + 2 * ADDRESSES_MAX
