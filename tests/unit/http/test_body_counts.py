"""What a body is made of is counted as a parser would find it, wherever its pieces end."""

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.http import body_counts
from frontend.http.body_counts import (
    LARGE_BYTES,
    MARKS_MAX,
    UNCOUNTED_BYTES,
    check_counts,
    is_large,
)
from protocol.errors import InvalidRequest

TEXT = st.text(alphabet='ab"\\,[]{}:é\n', max_size=8)
JSON = st.recursive(
    TEXT | st.integers() | st.none(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


def counted(value: Any) -> tuple[int, int, int]:
    """Objects and lists, names, and commas."""
    if not isinstance(value, dict | list):
        return 0, 0, 0
    inner = [counted(each) for each in (value.values() if isinstance(value, dict) else value)]
    opened, members, items = (sum(each[at] for each in inner) for at in range(3))
    return (
        opened + 1,
        members + (len(value) if isinstance(value, dict) else 0),
        items + max(0, len(value) - 1),
    )


@given(JSON, st.booleans(), st.sampled_from([1, 2, 3, 7, 1 << 20]))
def test_counts_are_those_of_the_values(value: Any, ascii_only: bool, piece_bytes: int) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(body_counts, "_SLICE_BYTES", piece_bytes)
        assert body_counts._counted(body, outside_text=True) == counted(value)


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("[]", body_counts.OPENED_MAX - 1),
        ("null", body_counts.ITEMS_MAX + 1),
    ],
)
def test_bounds_are_met_and_not_passed(value: str, allowed: int) -> None:
    check_counts(b"[" + b",".join([value.encode()] * allowed) + b"]")
    with pytest.raises(InvalidRequest, match="at most"):
        check_counts(b"[" + b",".join([value.encode()] * (allowed + 1)) + b"]")


def test_text_is_no_structure() -> None:
    check_counts(json.dumps('[{"a":1},' * 200_000).encode())


def test_a_long_text_is_counted_without_numpy() -> None:
    text = json.dumps({"content": "some words, and others: " * 20_000})
    program = (
        "import sys; from frontend.http.body_counts import check_counts; "
        "check_counts(sys.stdin.buffer.read()); assert 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], input=text.encode(), check=True)


@pytest.mark.parametrize(
    ("body", "large"),
    [
        (b'"' + b"a" * (LARGE_BYTES - 2) + b'"', False),
        (b'"' + b"a" * LARGE_BYTES + b'"', True),
        (json.dumps(["0123456789"] * (MARKS_MAX // 2 - 1)).encode(), False),
        (json.dumps(["0123456789"] * (MARKS_MAX // 2 + 1)).encode(), True),
        (json.dumps([0] * MARKS_MAX).encode(), False),  # small whatever it is made of
        (json.dumps([[{}] * MARKS_MAX, "a" * UNCOUNTED_BYTES]).encode(), True),
        (json.dumps({"a\\": "b\\"} | {f"{n}\\": "\\" for n in range(MARKS_MAX)}).encode(), True),
        (json.dumps('"a": [1, {' * MARKS_MAX).encode(), True),
        (json.dumps('"a": 1, ' * 5 * MARKS_MAX).encode(), False),
    ],
)
def test_a_body_is_large_by_its_bytes_or_its_values(body: bytes, *, large: bool) -> None:
    assert is_large(body) is large
