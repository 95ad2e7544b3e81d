"""Last in the folder: it ends the engine that the other files share."""

import pytest

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]


def test_an_idle_engine_stops_without_a_trace(engine):
    assert engine.stop() == []
    assert engine.process.returncode == 0
    # and SGLang's sigterm_watchdog, which waits for it, did not end the process instead
    assert engine.deferred_ran
