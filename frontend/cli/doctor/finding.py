"""What a check finds is told in one line, with a verdict and a way to mend it."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail"]
"""Says how bad a finding is: fail keeps kvmesh from running, or leaves it open to strangers."""


@dataclass(frozen=True)
class Finding:
    """A Finding is what one check has to say of one thing.

    Attributes:
        about: what was looked at, in a word or two.
        says: what was found, on one line, without anything secret.
        mend: a sentence on what to do; empty where nothing is wrong.
    """

    verdict: Verdict
    about: str
    says: str
    mend: str = ""


def ok(about: str, says: str) -> Finding:
    """Returns a finding of something as it should be."""
    return Finding("ok", about, says)


def warn(about: str, says: str, mend: str) -> Finding:
    """Returns a finding of something that works, but not as well or as safely as it should."""
    return Finding("warn", about, says, mend)


def fail(about: str, says: str, mend: str) -> Finding:
    """Returns a finding of something that must be mended."""
    return Finding("fail", about, says, mend)
