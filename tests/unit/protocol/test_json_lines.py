"""A record is one JSON object on one line, whatever it quotes."""

import json
import logging

from protocol.process.json_lines import JsonLines


def _told(message: object, *args: object) -> tuple[str, dict[str, object]]:
    record = logging.LogRecord("a.b", logging.WARNING, "file", 1, message, args, None)
    record.created = 1_700_000_000.25
    line = JsonLines().format(record)
    return line, json.loads(line)


def test_a_message_keeps_its_text_and_its_line() -> None:
    hostile = 'w\n\x1b[2J "quoted" \x9b31m \u2028 \u202e ünï'
    line, told = _told("worker %s left", hostile)
    assert told == {
        "time": "2023-11-14T22:13:20.250000Z",
        "level": "WARNING",
        "target": "a.b",
        "message": f"worker {hostile} left",
    }
    assert line.isprintable()


def test_a_message_of_fields_is_told_by_them() -> None:
    class Message:
        def fields(self) -> dict[str, object]:
            return {"message": "request", "tokens": 3, "workers": ("w/0",)}

    _, told = _told(Message())
    assert (told["message"], told["tokens"], told["workers"]) == ("request", 3, ["w/0"])


def test_a_traceback_is_a_field() -> None:
    try:
        raise ValueError("inner\nouter")
    except ValueError as error:
        caught = (ValueError, error, error.__traceback__)
    record = logging.LogRecord("n", logging.ERROR, "file", 1, "a", (), caught)
    line = JsonLines().format(record)
    assert "\n" not in line
    assert str(json.loads(line)["exception"]).endswith("ValueError: inner\nouter")
