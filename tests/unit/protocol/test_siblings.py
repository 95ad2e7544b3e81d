"""Where a frontend's siblings are."""

import pytest

from protocol.siblings import sibling_address


@pytest.mark.parametrize(
    ("address", "second"),
    [
        ("tcp://127.0.0.1:5550", "tcp://127.0.0.1:5551"),
        ("tcp://[::1]:5550", "tcp://[::1]:5551"),
        ("tcp://*:5550", "tcp://*:5551"),
        ("ipc:///tmp/kvmesh-0/mesh", "ipc:///tmp/kvmesh-0/mesh.1"),
    ],
)
def test_they_follow_the_first(address: str, second: str) -> None:
    assert sibling_address(address, 0) == address
    assert sibling_address(address, 1) == second


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:0", "tcp://*:*", "tcp://h:65535", "nothing"])
def test_some_addresses_have_none(address: str) -> None:
    assert sibling_address(address, 0) == address
    with pytest.raises(ValueError, match="port"):
        sibling_address(address, 1)
