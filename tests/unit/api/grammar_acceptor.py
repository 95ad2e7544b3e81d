"""What xgrammar's grammar of a schema accepts, asked of a process of its own.

xgrammar imports torch, and a process that ran pytest with torch in it ends with a segmentation
fault at times.
"""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, Self


class GrammarAcceptor:
    """A running acceptor: one question and one answer a line."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()  # the end of its input is its end

    def accepted(self, schema: Any, values: list[Any]) -> list[bool] | None:
        """Which of `values` the grammar accepts as JSON; None where xgrammar makes no grammar of
        the schema.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([schema, values]) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())


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
