"""Salts under several names."""

from itertools import product

import pytest

from frontend.api.fields.salts import one_salt
from protocol.errors import InvalidRequest
from protocol.limits import NAME_CHARS_MAX


def test_one_part_is_the_salt_and_several_are_told_apart_by_place() -> None:
    assert one_salt(None, None, None) is None
    assert one_salt(None, "tenantA", None) == one_salt("tenantA", None, None) == "tenantA"
    several = [
        parts
        for parts in product((None, "tenant", "A", "tenantA"), repeat=3)
        if sum(part is not None for part in parts) > 1
    ]
    salts = [one_salt(*parts) for parts in several]
    assert len(set(salts)) == len(several)
    assert set(salts).isdisjoint({"tenant", "A", "tenantA"})


@pytest.mark.parametrize("parts", [("a\x1fb", None), ("a", "\x1f"), ("a" * 200, "b" * 200)])
def test_what_could_be_taken_for_another_is_refused(parts: tuple[str, str | None]) -> None:
    with pytest.raises(InvalidRequest):
        one_salt(*parts)
    assert one_salt("a" * NAME_CHARS_MAX) == "a" * NAME_CHARS_MAX
