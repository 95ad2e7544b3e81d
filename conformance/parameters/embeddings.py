"""Parameters of /v1/embeddings."""

from typing import Any, Final

from conformance.parameters import effects
from conformance.parameters.exchange import Case

BASE: Final[dict[str, Any]] = {"input": "a cat"}

CASES: Final = (
    Case(
        "model",
        "all-minilm-l6-v2",
        "the model answers",
        effects.field_is("model", "all-minilm-l6-v2"),
    ),
    Case("input", ["a cat", "a dog"], "a vector for each", effects.vectors(2)),
    Case(
        "input",
        [101, 102],
        "tokens as they are",
        lambda answer, _: answer.usage["prompt_tokens"] == 2,
    ),
    Case("encoding_format", "float", "numbers", effects.vector_of(384)),
    Case("encoding_format", "base64", "float32s in base64", effects.packed_floats),
    Case("dimensions", 64, "so many, of length one again", effects.vector_of(64)),
    Case("dimensions", 385, "the model makes fewer"),
    Case("user", "ada", "nothing is kept or passed on"),
)
