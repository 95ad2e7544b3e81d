"""What our errors are called in the reference product's series."""

import pytest

from frontend.observe.error_types import ERROR_TYPES, error_type_of
from protocol.error_answers import HTTP

KNOWN = {
    "validation",
    "not_found",
    "overload",
    "unavailable",
    "cancelled",
    "response_timeout",
    "internal",
    "not_implemented",
}


def test_each_error_has_one_of_its_words() -> None:
    assert ERROR_TYPES.keys() == {leaf.code for leaf in HTTP}
    assert {told.error_type for told in ERROR_TYPES.values()} <= KNOWN


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("", ""),
        ("invalid_value", "validation"),
        ("context_length_exceeded", "validation"),
        ("model_not_found", "not_found"),
        ("overloaded", "overload"),
        ("no_worker", "unavailable"),
        ("encoder_lost", "unavailable"),
        ("client_gone", "cancelled"),
        ("deadline_exceeded", "response_timeout"),
        ("engine_fault", "internal"),
        ("of a newer worker", "internal"),
    ],
)
def test_errors_are_called_by_their_kind(code: str, word: str) -> None:
    assert error_type_of(code) == word
