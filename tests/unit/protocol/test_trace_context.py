"""The W3C trace context, read as the standard says and written so that it is read the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.trace_context import TRACEPARENT_CHARS_MAX, TraceContext, read_trace_context

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


STATES = st.sampled_from(["", "a=b"])


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans(), STATES)
def test_what_is_written_is_read(trace: int, span: int, sampled: bool, state: str) -> None:
    context = TraceContext(trace, span, sampled, state)
    assert read_trace_context(context.traceparent, state) == context
    assert len(context.traceparent) <= TRACEPARENT_CHARS_MAX


@pytest.mark.parametrize(
    ("flags", "sampled"), [("00", False), ("01", True), ("02", False), ("03", True), ("ff", True)]
)
def test_only_the_last_flag_says_whether_it_is_sampled(flags: str, sampled: bool) -> None:
    read = read_trace_context(f"00-{TRACE}-{SPAN}-{flags}")
    assert read == TraceContext(int(TRACE, 16), int(SPAN, 16), sampled)


@pytest.mark.parametrize("rest", ["", "-", "-more-to-come"])
def test_of_a_later_version_what_is_known_is_read(rest: str) -> None:
    read = read_trace_context(f"01-{TRACE}-{SPAN}-01{rest}")
    assert read == TraceContext(int(TRACE, 16), int(SPAN, 16), sampled=True)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-1",
        f"0-{TRACE}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"01-{TRACE}-{SPAN}-01more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f" 00-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_what_cannot_be_understood_says_nothing(value: str | None) -> None:
    assert read_trace_context(value, "a=b") is None
