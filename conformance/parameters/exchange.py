"""One request with one parameter, and what came of it."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

SEED_SAYS: Final = (
    "SGLang repeats answers only with --enable-deterministic-inference, which it has on GPUs"
)


@dataclass(frozen=True)
class Answer:
    """What came: one JSON body, or a stream's events."""

    status: int
    body: dict[str, Any]
    events: tuple[dict[str, Any], ...] = ()
    ignored: str = ""
    """Names in the header x-kvmesh-ignored."""

    @property
    def choice(self) -> dict[str, Any]:
        """The first choice."""
        return self.body["choices"][0]

    @property
    def text(self) -> str:
        """The first choice's text or content, or a response's."""
        if "output" in self.body:
            return "".join(
                part["text"]
                for item in self.body["output"]
                for part in item.get("content", [])
                if part["type"] == "output_text"
            )
        return (
            self.choice["text"]
            if "text" in self.choice
            else self.choice["message"]["content"] or ""
        )

    @property
    def usage(self) -> dict[str, Any]:
        """The token counts."""
        return self.body["usage"]


@dataclass(frozen=True)
class Endpoint:
    """Where requests go, and the request that parameters are added to."""

    http: httpx.Client
    path: str
    base: Mapping[str, Any]

    def ask(self, **fields: Any) -> Answer:
        """The answer to the base request with these fields; None leaves one out."""
        body = {name: value for name, value in {**self.base, **fields}.items() if value is not None}
        answer = self.http.post(self.path, json=body)
        ignored = answer.headers.get("x-kvmesh-ignored", "")
        if not answer.headers["content-type"].startswith("text/event-stream"):
            return Answer(answer.status_code, answer.json(), ignored=ignored)
        data = [
            line.removeprefix("data: ")
            for line in answer.text.splitlines()
            if line.startswith("data: ")
        ]
        return Answer(
            answer.status_code,
            {},
            tuple(json.loads(each) for each in data if each != "[DONE]"),
            ignored,
        )


@dataclass(frozen=True)
class Case:
    """A parameter with a value.

    Attributes:
        beside: further fields that it makes sense with.
        effect: whether the answer shows that the parameter was honoured, given the answer and a way
        to ask again with other fields;
            None for one that is taken without any.
        says: the effect, in words for the table.
    """

    name: str
    value: Any
    says: str
    effect: Callable[[Answer, Callable[..., Answer]], bool] | None = None
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def label(self) -> str:
        """Name and value, as a test's id."""
        return f"{self.name}={json.dumps(self.value)[:40]}"

    def outcome(self, endpoint: Endpoint) -> str:
        """Send it: `honoured: …`, `without effect: …`, `ignored: …` or `refused: status, code`.

        Raises:
            AssertionError: it was silently dropped, refused without its name, or the server failed.
        """
        answer = endpoint.ask(**{**self.beside, self.name: self.value})
        if answer.status != 200:
            error = answer.body["error"]
            assert 400 <= answer.status < 500, f"{answer.status}: {error}"
            assert re.split(r"[.\[]", error["param"] or "")[0] == self.name, (
                f"refused without its name: {error}"
            )
            return f"refused: {answer.status} `{error['code']}`"
        if self.name in [name.split(".")[0] for name in answer.ignored.split(", ")]:
            return f"ignored: {self.says}"
        if self.effect is None:
            return f"without effect: {self.says}"

        def ask(**fields: Any) -> Answer:
            again = endpoint.ask(**{**self.beside, **fields})
            assert again.status == 200, again.body
            return again

        assert self.effect(answer, ask), (
            f"silently dropped: {json.dumps(answer.body or answer.events)[:1000]}"
        )
        return f"honoured: {self.says}"
