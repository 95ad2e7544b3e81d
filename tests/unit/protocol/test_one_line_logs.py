"""A message is one line of the log, whatever it quotes."""

import logging

import pytest

from protocol.process.one_line_logs import OneLine


@pytest.mark.parametrize(
    ("quoted", "shown"),
    [
        ("plain, ünïcode 漢字\tand a tab", "plain, ünïcode 漢字\tand a tab"),
        ("w\n[frontend] forged\r\n", r"w\n[frontend] forged\r\n"),
        ("\x1b[2J\x1b]0;title\x07\x9b31m\x7f\x00", r"\x1b[2J\x1b]0;title\x07\x9b31m\x7f\x00"),
        ("\u2028a\u202eb\u2069", r"\u2028a\u202eb\u2069"),
    ],
)
def test_control_characters_are_written_out(quoted: str, shown: str) -> None:
    record = logging.LogRecord("name", logging.INFO, "file", 1, "worker %s left", (quoted,), None)
    assert OneLine().format(record).endswith(f" I name: worker {shown} left")


def test_a_traceback_keeps_its_lines() -> None:
    try:
        raise ValueError("inner")
    except ValueError as error:
        record = logging.LogRecord(
            "n", logging.ERROR, "file", 1, "a\nb", (), (ValueError, error, error.__traceback__)
        )
    first, second, *_, last = OneLine().format(record).splitlines()
    assert first.endswith(r" E n: a\nb")
    assert (second, last) == (
        "Traceback (most recent call last):",
        "ValueError: inner",
    )


def test_the_time_is_that_of_logging_itself() -> None:
    ours, theirs = OneLine(), logging.Formatter("%(asctime)s I n: a")
    record = logging.LogRecord("n", logging.INFO, "file", 1, "a", (), None)
    for created in (0.0, 0.25, 1_700_000_000.999, 1_700_000_001.0, 1_700_000_000.5):
        record.created, record.msecs = created, created % 1 * 1000
        assert ours.format(record) == theirs.format(record)
