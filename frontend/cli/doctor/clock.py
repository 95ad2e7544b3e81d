"""The clock of this host, by which deadlines of requests go, and that of a running frontend."""

import ctypes
import email.utils
import time
from collections.abc import Iterator
from typing import Final

from frontend.cli.direct_http import UNREACHABLE, open_url
from frontend.cli.doctor.finding import Finding, fail, ok, warn
from frontend.cli.doctor.subject import Subject

OFF_S_MAX: Final = 3.0
"""Bounds how far two clocks may be apart unnoticed: the Date header has whole seconds. Requests
carry their deadline, so what is behind or before by minutes refuses or keeps them wrongly.
"""

ANSWER_S_MAX: Final = 5.0

_TIMEX_BYTES: Final = 1_024
"""Is more than struct timex has (man 2 adjtimex); all zero, it asks and changes nothing."""

_TIME_ERROR: Final = 5
"""Is what adjtimex returns for a clock that nothing keeps right."""

_MEND: Final = "Have a time service keep it right: chrony, systemd-timesyncd or the host's own."


def check(subject: Subject) -> Iterator[Finding]:
    """Yields what the kernel says of the clock, and how far it is from a running frontend's."""
    yield judge_kernel(kernel_state())
    asked_at = time.time()
    try:
        with open_url(
            subject.url + subject.settings.http_svc_live_path, timeout_s=ANSWER_S_MAX
        ) as answer:
            told = answer.headers["date"]
    except UNREACHABLE:
        return
    if told is not None:
        there = email.utils.parsedate_to_datetime(told).timestamp()
        yield judge_difference(there - (asked_at + time.time()) / 2)


def kernel_state() -> int | None:
    """Returns the state of the clock as adjtimex tells it; None where it does not."""
    call = getattr(ctypes.CDLL(None), "adjtimex", None)
    state = -1 if call is None else int(call(ctypes.create_string_buffer(_TIMEX_BYTES)))
    return None if state < 0 else state


def judge_kernel(state: int | None) -> Finding:
    """Returns a finding on a state of the clock as the kernel tells it."""
    if state is None:
        return ok("clock", "this system does not tell whether something keeps it right")
    if state == _TIME_ERROR:
        return warn("clock", "nothing keeps it right (the kernel calls it unsynchronised)", _MEND)
    return ok("clock", "kept right by a time service")


def judge_difference(difference_s: float) -> Finding:
    """Returns a finding on how many seconds a frontend's clock is before this one's."""
    says = f"{abs(difference_s):.0f} s {'before' if difference_s > 0 else 'behind'} this host's"
    if abs(difference_s) > OFF_S_MAX:
        return fail("frontend's clock", says, _MEND)
    return ok("frontend's clock", "the same as this host's")
