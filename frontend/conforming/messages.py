"""Defines what the frontend asks the program that validates, and hears from it: JSON, one a
line.
"""

from msgspec import Struct


class Question(Struct, frozen=True):
    """A Question asks whether an answer conforms to a schema; both are JSON texts, of which the
    answer is a model's and may be none.
    """

    schema: str
    answer: str


class Verdict(Struct, frozen=True):
    """A Verdict says that an answer conforms, how it does not, or why that is not known; at most
    one field is set. The program's first verdict is about nothing: it is ready.

    Attributes:
        breach: how the answer does not conform, in words that follow its name.
        unchecked: why that could not be found out.
    """

    breach: str | None = None
    unchecked: str | None = None
