"""One thing of SGLang that kvmesh relies on beyond its public API is a record. Imports no
SGLang.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Relied:
    """A Relied is a name of SGLang's, who relies on it here and why, and what it must still be.

    Attributes:
        name: "module:Qualified.name", below the package sglang.
        used_in: the file below workers/sglang.
        why: what it is needed for, as a sentence.
        parameters: the names of its parameters, in order; None where they do not matter.
        says: lines that its source has.
        fields: what it has: constructor parameters, fields, private attributes.
    """

    name: str
    used_in: str
    why: str
    parameters: tuple[str, ...] | None = None
    says: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
