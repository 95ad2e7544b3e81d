"""What xgrammar's grammar of a schema accepts, asked of a process of its own.

xgrammar imports torch, and a process that ran pytest with torch in it ends with a segmentation
fault at times.
"""

import json
import sys
from contextlib import suppress
from typing import Any, Self

from starter.responder import Responder


class GrammarAcceptor:
    """A running acceptor: one question and one answer a line."""

    def __enter__(self) -> Self:
        self._responder = Responder([sys.executable, "-m", "tests.unit.api.grammar_acceptor"])
        return self

    def __exit__(self, *_: object) -> None:
        self._responder.close()

    def accepted(self, schema: Any, values: list[Any]) -> list[bool] | None:
        """Which of `values` the grammar accepts as JSON; None where xgrammar makes no grammar of
        the schema.
        """
        return json.loads(self._responder.ask(json.dumps([schema, values])))


def _serve() -> None:
    import xgrammar  # noqa: PLC0415  # in this process alone
    from xgrammar.testing import _is_grammar_accept_string  # noqa: PLC0415

    for line in sys.stdin:
        schema, values = json.loads(line)
        answer = None
        with suppress(RuntimeError, ValueError):
            grammar = xgrammar.Grammar.from_json_schema(json.dumps(schema), any_whitespace=False)
            answer = [_is_grammar_accept_string(grammar, json.dumps(value)) for value in values]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    _serve()
