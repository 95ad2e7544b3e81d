"""Validates answers against schemas, one after the other, until its stdin ends; is run as a
program.

A process of its own, since a validator holds Python's lock while it works: 26 nested definitions of
two alternatives each, which a client may send, take it seconds, and each further one twice as long.
"""

import json
import os
import resource
import signal
import sys
from functools import lru_cache
from typing import Final

import msgspec
from jsonschema_rs import Draft202012Validator, RegexOptions, ValidationError

from frontend.conforming.messages import Question, Verdict

COMPILED_MAX: Final = 64
"""Bounds the compiled schemas kept, each of at most 256 KiB of text; a usual one takes some tens of
kilobytes.
"""

MEMORY_BYTES_MAX: Final = 512 * 1024 * 1024
"""Bounds the address space of the program; more ends it, and the next answer starts another."""

BREACH_CHARS_MAX: Final = 300

_Compiled = Draft202012Validator | str


def main() -> None:
    """Answers each question with a verdict."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the frontend has requests to finish then
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    os.nice(1)  # who waits for tokens comes first
    _say(Verdict())
    for line in sys.stdin.buffer:
        question = msgspec.json.decode(line, type=Question)
        _say(verdict_on(question.schema, question.answer))


def verdict_on(schema: str, answer: str) -> Verdict:
    """Returns whether the answer conforms, by JSON Schema 2020-12.

    A format is no promise of that, and the grammar holds the model to it.
    """
    try:
        value = json.loads(answer)
    except ValueError:
        return Verdict(breach="is no JSON")
    except RecursionError:
        return Verdict(unchecked="the answer is nested too deep")
    validator = _compiled(schema)
    if isinstance(validator, str):
        return Verdict(unchecked=validator)
    try:
        validator.validate(value)
    except ValidationError as error:
        keyword = next(
            (step for step in reversed(error.schema_path) if isinstance(step, str)), "false"
        )
        where = "".join(f"/{step}" for step in error.instance_path)
        return Verdict(
            breach=(f"breaks {keyword!r}" + (f" at {where}" if where else ""))[:BREACH_CHARS_MAX]
        )
    # half a character, as JSON may escape one, among them
    except (ValueError, RecursionError) as error:
        return Verdict(unchecked=f"the answer cannot be validated: {error}"[:BREACH_CHARS_MAX])
    return Verdict()


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(schema: str) -> _Compiled:
    """Returns the validator of a schema, or why there is none.

    It fetches nothing, and its patterns take time in proportion to the text.
    """
    try:
        return Draft202012Validator(
            json.loads(schema), mask="…", offline=True, pattern_options=RegexOptions()
        )
    except (ValidationError, ValueError, RecursionError) as error:
        return f"the schema cannot be compiled: {error}"[:BREACH_CHARS_MAX]


def _say(verdict: Verdict) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(verdict) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
