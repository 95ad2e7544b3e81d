"""Where a prefill engine's bootstrap server listens, and how it is told to frontends."""

import argparse
import os
import socket

import pytest

from protocol.disaggregation import BootstrapServer
from protocol.process.start_error import StartError
from workers.mesh.own_host import reached_from
from workers.sglang.bootstrap import set_bootstrap
from workers.sglang.translation import failure

_PORT = "--disaggregation-bootstrap-port"
_WAIT = "SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT"


def namespace(mode: str, port: int = 8998) -> argparse.Namespace:
    return argparse.Namespace(
        disaggregation_mode=mode, disaggregation_bootstrap_port=port, host="127.0.0.1"
    )


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BOOTSTRAP_TIMEOUT", "WAITING_TIMEOUT", "DEFERRED_DECODE_KV_RELEASE_TIMEOUT"):
        monkeypatch.setenv(f"SGLANG_DISAGGREGATION_{name}", "7")  # undone behind the test


def test_a_prefill_engine_takes_a_free_port_unless_one_was_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        chosen = namespace("prefill", port)
        set_bootstrap(chosen, frozenset())
        assert chosen.disaggregation_bootstrap_port not in (0, port)
        with pytest.raises(StartError, match=f"{_PORT} {port} cannot be used on 127.0.0.1"):
            set_bootstrap(namespace("prefill", port), {_PORT})


@pytest.mark.parametrize("mode", ["null", "decode"])
def test_other_engines_listen_nowhere(mode: str) -> None:
    kept = namespace(mode)
    set_bootstrap(kept, frozenset())
    assert kept.disaggregation_bootstrap_port == 8998


def test_waits_are_short_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    set_bootstrap(namespace("decode"), frozenset())
    assert os.environ[_WAIT] == "7"
    monkeypatch.delenv(_WAIT)
    set_bootstrap(namespace("decode"), frozenset())
    assert os.environ[_WAIT] == "30"


def test_a_server_on_every_interface_is_told_as_the_frontend_reaches_it() -> None:
    everywhere = BootstrapServer("0.0.0.0", 9000)
    assert reached_from("ipc:///tmp/mesh", everywhere) == BootstrapServer("127.0.0.1", 9000)
    assert reached_from("tcp://127.0.0.1:5560", everywhere) == BootstrapServer("127.0.0.1", 9000)
    named = BootstrapServer("10.1.2.3", 9000)
    assert reached_from("tcp://127.0.0.1:5560", named) is named
    assert reached_from("tcp://127.0.0.1:5560", None) is None


@pytest.mark.parametrize(
    "message",
    [
        "Decode handshake failed for request rank=0",
        "Decode transfer failed for request rank=0",
        "Prefill bootstrap failed for request rank=0",
        "Prefill transfer failed for request rank=0",
        "KV transfer failed",
    ],
)
def test_a_failed_hand_over_is_told_from_other_failures(message: str) -> None:
    assert failure(500, message).code == "handover_failed"
    assert failure(500, "CUDA error").code == "engine_fault"
