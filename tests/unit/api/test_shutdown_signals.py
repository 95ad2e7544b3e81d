"""What signals do to the HTTP server."""

import itertools
import signal

import pytest
import uvicorn

from frontend.app import Server


@pytest.mark.parametrize(("first", "second"), [*itertools.product([signal.SIGTERM, signal.SIGINT], repeat=2)])
def test_the_first_signal_is_graceful_and_any_second_one_is_not(first: signal.Signals, second: signal.Signals) -> None:
    server = Server(uvicorn.Config("none:app"))
    server.handle_exit(first, None)
    assert (server.should_exit, server.force_exit) == (True, False)
    server.handle_exit(second, None)
    assert (server.should_exit, server.force_exit) == (True, True)
