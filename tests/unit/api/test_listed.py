"""A field that has one text or several, as strings or token ids, is told apart by its kinds."""

from typing import Any

import pytest

from frontend.api.fields.listed import listed
from protocol.errors import InvalidRequest


@pytest.mark.parametrize(
    ("asked", "several"),
    [
        ("a", ["a"]),
        ("", [""]),
        ([1, 2, 3], [[1, 2, 3]]),
        (["a", "b"], ["a", "b"]),
        ([[1], [2, 3]], [[1], [2, 3]]),
        ([], []),
    ],
)
def test_one_and_several_become_a_list(asked: Any, several: list[Any]) -> None:
    assert listed(asked, "prompt", 2) == several


@pytest.mark.parametrize("asked", [["a", 1], [1, [1]], ["a", [1]]])
def test_a_mixture_is_refused(asked: Any) -> None:
    with pytest.raises(InvalidRequest, match="A list of inputs must hold only strings") as raised:
        listed(asked, "input", 9)
    assert raised.value.param == "input"


def test_too_many_are_refused_by_their_number() -> None:
    with pytest.raises(InvalidRequest, match="At most 2 prompts are allowed, got 3") as raised:
        listed(["a", "b", "c"], "prompt", 2)
    assert raised.value.param == "prompt"
