"""What is asked of a server, in the words that it takes."""

from dataclasses import dataclass, replace
from typing import Any, Literal

Endpoint = Literal["chat", "completions"]

PATHS: dict[Endpoint, str] = {"chat": "/chat/completions", "completions": "/completions"}


@dataclass(frozen=True)
class Wishes:
    """Wishes make the body of each request.

    Attributes:
        output_tokens: that each answer has, where the server can be told to go on past its end.
        limit_field: the name that the server has for them.
        ignores_eos: it can be told so (ignore_eos, of SGLang, vLLM and kvmesh).
        tells_usage: a stream may be asked for its tokens' number at its end.
    """

    model: str
    endpoint: Endpoint
    output_tokens: int
    limit_field: str = "max_tokens"
    ignores_eos: bool = True
    tells_usage: bool = True

    @property
    def path(self) -> str:
        """Returns the page that is asked."""
        return PATHS[self.endpoint]

    def body(self, prompt: str, *, stream: bool) -> dict[str, Any]:
        """Returns the body of a request."""
        body: dict[str, Any] = {
            "model": self.model,
            self.limit_field: self.output_tokens,
            "stream": stream,
        }
        if self.endpoint == "chat":
            body["messages"] = [{"role": "user", "content": prompt}]
        else:
            body["prompt"] = prompt
        if self.ignores_eos:
            body["ignore_eos"] = True
        if stream and self.tells_usage:
            body["stream_options"] = {"include_usage": True}
        return body

    def less(self) -> "list[Wishes]":
        """Returns the same in ways that ever more servers take, of which the first is this one."""
        plain = replace(self, ignores_eos=False)
        newer = replace(plain, limit_field="max_completion_tokens")
        return [self, plain, newer, replace(plain, tells_usage=False)]
