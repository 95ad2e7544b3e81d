"""The guard and the trials of grammars talk to each other by these messages, each behind its
length.
"""

from msgspec import Struct

from protocol.generation import Grammar


class Setup(Struct, frozen=True):
    """A Setup says how SGLang's grammar backend is set up."""

    tokenizer: str
    """The tokenizer is given as xgrammar's TokenizerInfo, serialized."""
    vocab_size: int
    any_whitespace: bool
    max_whitespace_cnt: int | None


class Trial(Struct, frozen=True):
    """A Trial asks for one grammar to be tried."""

    number: int
    grammar: Grammar
    cpu_s: float
    """The trial may take this many seconds of CPU time, all threads together."""


class Verdict(Struct, frozen=True):
    """A Verdict says what came of a trial."""

    number: int
    refused: str | None
    """Tells why the grammar must not go to the engine; None if it may."""
    cpu_s: float
    out_of_time: bool = False
    """Says whether the grammar was given too little time to tell."""
