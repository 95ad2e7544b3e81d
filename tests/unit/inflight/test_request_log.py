"""What the log costs who does not want it: nothing is made of a request then."""

import logging

import pytest

from frontend.inflight.request_log import log_request, make_logging_lean
from frontend.observe.buckets import GapScale
from frontend.observe.request_record import RequestRecord

RECORD = RequestRecord(
    request_id="id",
    mesh_id="0" * 32,
    endpoint="chat_completions",
    path="/v1/chat/completions",
    runs_model=True,
    model="demo",
    streams=False,
    traceparent=None,
    came_unix_s=1.0,
    took_s=0.5,
    status=200,
    error="",
    message="",
)


def test_a_higher_level_switches_it_off(caplog: pytest.LogCaptureFixture) -> None:
    for level, lines in ((logging.INFO, 1), (logging.WARNING, 0)):
        caplog.clear()
        with caplog.at_level(level):
            log_request(RECORD, GapScale((0.1,)))
        assert [record.message for record in caplog.records] == [
            "id /v1/chat/completions model=demo took=0.500 ok"
        ] * lines


def test_lean_records_are_whole_to_our_format(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, getattr(logging, name))
    make_logging_lean()
    record = logging.getLogger("a").makeRecord("a", logging.INFO, "", 0, "b %d", (1,), None)
    assert logging.Formatter("%(levelname).1s %(name)s: %(message)s").format(record) == "I a: b 1"
