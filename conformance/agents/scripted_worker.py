"""`python -m conformance.agents.scripted_worker …`: a worker on real SGLang whose demo model says
what script.py has for it.

All else is as everywhere: requests come as agents send them, are rendered, routed, batched and
sampled, and SGLang's parsers read the answer.
"""

import json
import sys
from typing import Final

from msgspec.structs import replace
from tokenizers import Tokenizer

from conformance.agents.script import said
from protocol.generation import Generate, Grammar, Sampling
from protocol.requests import Work
from protocol.tokens import unpack_tokens
from workers.app import run
from workers.demo_model import demo_model_dir
from workers.sglang.engine import SglangEngine

_MODEL: Final = (
    *("--model-path", str(demo_model_dir()), "--load-format", "dummy"),
    *("--json-model-override-args", '{"num_hidden_layers": 1, "layer_types": ["full_attention"]}'),
    *("--context-length", "32768", "--max-total-tokens", "49152"),
)
"""The demo model with one layer of four, and that without weights: a grammar makes every answer,
and agents' prompts are long for two cores. The cache takes the longest of them and a session beside
it.
"""

_THOUGHT: Final = "</think>"
_AT_ONCE: Final = 100.0
"""A bias with which a token comes first.

Where a prompt asks for thinking it ends the thinking, which no grammar holds.
"""


class Script:
    """Holds requests to what the script says."""

    def __init__(self) -> None:
        self._tokenizer = Tokenizer.from_file(str(demo_model_dir() / "tokenizer.json"))
        self._thought = self._tokenizer.token_to_id(_THOUGHT)

    def hold(self, request: Work) -> Work:
        """The request with its answer's text as its grammar; those of the worker itself are left
        alone.
        """
        if not isinstance(request, Generate) or request.reading is None:
            return request
        prompt = self._tokenizer.decode(
            list(unpack_tokens(request.token_ids)), skip_special_tokens=False
        )
        chat = json.loads(request.reading.chat or b"{}")
        text = said(prompt, [tool["function"]["name"] for tool in chat.get("tools", ())])
        return replace(
            request,
            grammar=Grammar("ebnf", f"root ::= {json.dumps(text)}"),
            sampling=self._sampling(request.sampling),
        )

    def _sampling(self, sampling: Sampling) -> Sampling:
        return (
            sampling
            if self._thought is None
            else replace(sampling, logit_bias={str(self._thought): _AT_ONCE})
        )


def main() -> int:
    """Run the worker; returns its exit code."""
    script, submit = Script(), SglangEngine.submit

    def hold_and_submit(engine: SglangEngine, request: Work) -> None:
        submit(engine, script.hold(request))

    SglangEngine.submit = hold_and_submit
    return run([*sys.argv[1:], *_MODEL])


if __name__ == "__main__":
    sys.exit(main())
