"""What the log costs who does not want it: nothing is made of a request then."""

import logging

import pytest

from frontend.inflight.request_log import log_request, make_logging_lean


def test_a_higher_level_switches_it_off(caplog: pytest.LogCaptureFixture) -> None:
    for level, lines in ((logging.INFO, 1), (logging.WARNING, 0)):
        caplog.clear()
        with caplog.at_level(level):
            log_request(
                "id", "/v1/chat/completions", "demo", None, None, began_at=1.0, ended_at=1.5
            )
        assert [record.message for record in caplog.records] == [
            "id /v1/chat/completions model=demo took=0.500 ok"
        ] * lines


def test_lean_records_are_whole_to_our_format(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    make_logging_lean()
    record = logging.getLogger("a").makeRecord("a", logging.INFO, "", 0, "b %d", (1,), None)
    assert logging.Formatter("%(levelname).1s %(name)s: %(message)s").format(record) == "I a: b 1"
