"""The nodes of one engine find each other under the mesh's key, and nobody else is among them."""

import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import zmq

from protocol.codec import encode
from protocol.membership import Loading
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey
from protocol.transport.sockets import Socket, connected_dealer
from starter.ports import reserve_ports
from workers.sglang import nodes as subject
from workers.sglang.nodes import ALLOWED_PEERS, admit_nodes, announce, gather


@pytest.fixture
def address() -> str:
    return f"tcp://127.0.0.1:{reserve_ports(1)}"


def arguments(**given: Any) -> Any:
    return SimpleNamespace(
        **{
            "nnodes": 2,
            "node_rank": 0,
            "dist_init_addr": "192.0.2.9:1",
            "enable_dp_attention": True,
            "attn_dp_size": None,
        }
        | given
    )


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED_PEERS, "")  # so that what a test leaves there is removed
    monkeypatch.delenv(ALLOWED_PEERS)


def test_the_first_node_hears_from_where_the_others_come_in_whatever_order_they_start(
    address: str,
) -> None:
    secret = b"s" * 32
    with ThreadPoolExecutor() as pool:
        third = pool.submit(announce, address, 2, MeshKey(secret))
        found = pool.submit(gather, address, 3, MeshKey(secret))
        second = pool.submit(announce, address, 1, MeshKey(secret))
        assert found.result(30) == ["127.0.0.1"]
        assert (second.result(30), third.result(30)) == (None, None)


def test_a_worker_that_takes_the_address_for_a_frontends_is_no_node(address: str) -> None:
    context: zmq.Context[Socket] = zmq.Context()
    with ThreadPoolExecutor() as pool:
        found = pool.submit(gather, address, 2, None)
        dealer = connected_dealer(context, address, None)
        assert dealer.poll(30_000, zmq.POLLOUT)
        dealer.send_multipart(encode(Loading("w", "m", "loading", 0.0)))
        announce(address, 1, None)
        assert found.result(30) == ["127.0.0.1"]
    dealer.close(linger=0)
    context.term()


def test_a_node_that_says_it_twice_is_one(address: str) -> None:
    with ThreadPoolExecutor() as pool:
        found = pool.submit(gather, address, 3, None, within_s=0.5)
        announce(address, 1, None)
        announce(address, 1, None)
        with pytest.raises(StartError, match="only 2 of the engine's 3 nodes"):
            found.result(30)


def test_a_stranger_without_the_key_is_no_node(address: str) -> None:
    with ThreadPoolExecutor() as pool:
        found = pool.submit(gather, address, 2, MeshKey(b"s" * 32), within_s=1)
        for key in (None, MeshKey(b"t" * 32)):
            with pytest.raises(StartError, match="did not answer"):
                announce(address, 1, key, within_s=0.4)
        with pytest.raises(StartError, match="only 1 of the engine's 2 nodes"):
            found.result(30)


@pytest.mark.parametrize(
    "given",
    [
        {"nnodes": 1},
        {"enable_dp_attention": False},
        {"enable_dp_attention": False, "attn_dp_size": 1},
        {"dist_init_addr": "127.0.0.1:1"},
    ],
)
def test_where_nobody_else_can_come_nobody_waits(given: dict[str, Any]) -> None:
    admit_nodes(arguments(**given), None)
    assert ALLOWED_PEERS not in os.environ


def test_what_the_user_says_of_the_nodes_is_left_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ALLOWED_PEERS, "192.0.2.1")
    admit_nodes(arguments(), None)
    assert os.environ[ALLOWED_PEERS] == "192.0.2.1"


def test_several_nodes_on_a_network_need_a_key() -> None:
    with pytest.raises(StartError, match="--mesh-key-file"):
        admit_nodes(arguments(), None)


@pytest.mark.parametrize("given", [{}, {"enable_dp_attention": False, "attn_dp_size": 2}])
def test_sglang_is_told_of_the_nodes_on_the_first_of_them(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any]
) -> None:
    monkeypatch.setattr(subject, "gather", lambda *_: ["192.0.2.9", "192.0.2.10"])
    announced: list[int] = []
    monkeypatch.setattr(subject, "announce", lambda _address, rank, _key: announced.append(rank))
    key = MeshKey(b"s" * 32)
    admit_nodes(arguments(**given), key)
    assert os.environ.pop(ALLOWED_PEERS) == "192.0.2.9,192.0.2.10"
    admit_nodes(arguments(node_rank=1, **given), key)
    assert announced == [1]
    assert ALLOWED_PEERS not in os.environ


def test_an_address_of_another_host_is_an_error() -> None:
    with pytest.raises(StartError, match="cannot meet at"):
        admit_nodes(arguments(dist_init_addr="192.0.2.99:1"), MeshKey(b"s" * 32))


def test_a_key_protects_another_context_afterwards(address: str) -> None:
    """Its thread belongs to one context."""
    key = MeshKey(b"s" * 32)
    for _ in range(2):
        with pytest.raises(StartError):
            gather(address, 2, key, within_s=0)
    assert key._authenticator is None
