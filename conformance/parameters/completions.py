"""Parameters of /v1/completions."""

from typing import Any, Final

from conformance.parameters import effects
from conformance.parameters.exchange import SEED_SAYS, Case

BASE: Final[dict[str, Any]] = {"prompt": "kvmesh is", "max_tokens": 24, "temperature": 0}

CASES: Final = (
    Case("model", "kvmesh-demo", "the model answers", effects.field_is("model", "kvmesh-demo")),
    Case("prompt", ["one", "two"], "a choice for each", effects.choices(2)),
    Case(
        "prompt",
        [11, 12, 13],
        "tokens as they are",
        lambda answer, _: answer.usage["prompt_tokens"] == 3,
    ),
    Case("max_tokens", 3, "so many tokens", effects.tokens_made(3)),
    Case("n", 3, "so many choices", effects.choices(3)),
    Case("best_of", 3, "every choice that is made is returned"),
    Case("best_of", 2, "every choice that is made is returned", effects.choices(2), {"n": 2}),
    Case(
        "echo",
        True,
        "the prompt first",
        lambda answer, ask: answer.text == "kvmesh is" + ask().text,
    ),
    Case("suffix", "the end", "nothing is inserted into a text"),
    Case(
        "temperature", 2, "another text", effects.another_text, {"seed": 1, "top_p": 1, "top_k": -1}
    ),
    Case("top_p", 0, "only the likeliest token", effects.greedy_text, {"temperature": 2}),
    Case(
        "frequency_penalty",
        2,
        "another text",
        effects.another_text,
        {"max_tokens": 64, "ignore_eos": True},
    ),
    Case(
        "presence_penalty",
        2,
        "another text",
        effects.another_text,
        {"max_tokens": 64, "ignore_eos": True},
    ),
    Case("seed", 7, SEED_SAYS),
    Case("stop", ["e"], "ends before it", effects.ends_before("e"), {"ignore_eos": True}),
    Case("logit_bias", {"300": 100}, "this token only", effects.one_token_over_and_over),
    Case("logprobs", 2, "of each token", effects.completion_logprobs),
    Case("logprobs", 6, "OpenAI gives five at most"),
    Case("stream", True, "events", effects.streamed),
    Case(
        "stream_options",
        {"include_usage": True},
        "usage in the last chunk",
        effects.usage_at_the_end,
        {"stream": True},
    ),
    Case("user", "ada", "nothing is kept or passed on"),
)
