"""What the frontend asks the program that validates, and hears from it: JSON, one a line."""

from msgspec import Struct


class Question(Struct, frozen=True):
    """JSON texts, of which the answer is a model's and may be none."""

    schema: str
    answer: str


class Verdict(Struct, frozen=True):
    """At most one is set. The program's first verdict is about nothing: it is ready.

    Attributes:
        breach: how the answer does not conform, in words that follow its name.
        unchecked: why that could not be found out.
    """

    breach: str | None = None
    unchecked: str | None = None
