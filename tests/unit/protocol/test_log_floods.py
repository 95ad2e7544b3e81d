"""What strangers can cause is said once a minute, with its number."""

import logging

from protocol.process.log_floods import SAID_EVERY_S, Complaint, OnceAMinute


def test_a_warning_is_said_once_a_minute_and_then_how_often_it_came() -> None:
    now = 0.0
    filter_ = OnceAMinute(lambda: now)

    def said(text: str, level: int = logging.WARNING) -> str | None:
        record = logging.LogRecord("x", level, "x.py", 1, text, None, None)
        return record.getMessage() if filter_.filter(record) else None

    assert said("invalid") == "invalid"
    assert [said("invalid"), said("invalid")] == [None, None]
    assert said("another") == "another"
    assert [said("failed", logging.ERROR)] * 2 == ["failed", "failed"]
    now = SAID_EVERY_S
    assert said("invalid") == "invalid (2 more since this was last said)"
    now = 2 * SAID_EVERY_S
    assert said("invalid") == "invalid"


def test_a_complaint_is_due_at_first_and_then_once_in_a_while_with_its_number() -> None:
    now = 0.0
    complaint = Complaint(lambda: now)
    assert [complaint.due() for _ in range(3)] == [1, 0, 0]
    now = SAID_EVERY_S
    assert [complaint.due(), complaint.due()] == [3, 0]
