"""Requests that come together over a fresh prefix, over real processes: it is computed once."""

from concurrent.futures import ThreadPoolExecutor

import openai

from tests.fleet.test_kv_routing import prompt, start
from tests.kit.fleet import Fleet

PACED = (
    "--served-model-name",
    "demo",
    "--sim-speedup",
    "1",
    "--context-length",
    "8192",
    "--kv-block-size",
    "16",
)
SHARED_TOKENS, TOGETHER = 1_024, 8


def _cached_tokens(client: openai.OpenAI, tokens: list[int]) -> int:
    """What the engine found of a prompt whose answer is streamed: who streams may be followed."""
    chunks = list(
        client.completions.create(
            model="demo",
            prompt=tokens,
            max_tokens=2,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    return usage.prompt_tokens_details.cached_tokens or 0


def test_one_of_those_who_come_together_computes_what_they_share(fleet: Fleet) -> None:
    start(fleet, workers=1, worker=PACED)
    shared = prompt(SHARED_TOKENS, 1)
    with fleet.client() as client, ThreadPoolExecutor(TOGETHER) as together:
        cached = sorted(
            together.map(
                lambda seed: _cached_tokens(client, shared + prompt(64, seed)),
                range(2, 2 + TOGETHER),
            )
        )
    assert cached == [0] + [SHARED_TOKENS] * (TOGETHER - 1)
