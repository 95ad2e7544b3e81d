from frontend.status.recent import ERRORS_MAX, ERRORS_S_MAX, WORDS, Recent
from protocol.error_answers import HTTP
from protocol.errors import ProtocolViolation
from tests.unit.status.test_slowest import record


def failed(at: float, error: str, model: str, status: int = 500) -> Recent:
    recent = Recent()
    note(recent, at, error, model, status)
    return recent


def note(recent: Recent, at: float, error: str, model: str, status: int) -> None:
    request = record(at, 1.0)
    request.error, request.status, request.model = error, status, model
    recent.note(request)


def test_every_error_that_a_client_is_told_has_words() -> None:
    assert {leaf.code for leaf in HTTP if leaf is not ProtocolViolation} <= set(WORDS)


def test_errors_of_a_kind_are_counted_together_the_latest_first_and_forgotten() -> None:
    recent = failed(100.0, "engine_fault", "a")
    note(recent, 101.0, "no_worker", "a", 503)
    note(recent, 102.0, "engine_fault", "a", 500)
    note(recent, 103.0, "invalid_value", "a", 400)
    assert [(each.code, each.count) for each in recent.errors(104.0)] == [
        ("invalid_value", 1),
        ("engine_fault", 2),
        ("no_worker", 1),
    ]
    assert (recent.ended, recent.failed) == (4, 3)
    assert recent.errors(104.0 + ERRORS_S_MAX) == []


def test_no_more_kinds_are_remembered_than_a_bound() -> None:
    recent = Recent()
    for number in range(3 * ERRORS_MAX):
        note(recent, float(number), "no_worker", f"model-{number}", 503)
    shown = recent.errors(float(3 * ERRORS_MAX))
    assert len(shown) == ERRORS_MAX
    assert shown[0].model == f"model-{3 * ERRORS_MAX - 1}"
