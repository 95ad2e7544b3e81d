"""A chat whose history is not tokenized again, seen from outside."""

import urllib.request
from typing import Any

import pytest

from tests.kit.fleet import Fleet


def _counts(fleet: Fleet) -> dict[str, float]:
    """The metrics of the tokenizer's cache, by the end of their names."""
    with urllib.request.urlopen(fleet.url + "/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    names = "dynamo_frontend_tokenizer_cache_", "kvmesh_frontend_tokenizer_cache_"
    return {
        name.partition("_tokenizer_cache_")[2]: float(value)
        for name, value in (line.split() for line in lines if line.startswith(names))
    }


@pytest.mark.parametrize("megabytes", [8, 0])
def test_a_growing_chat_is_found_again_unless_nothing_is_kept(fleet: Fleet, megabytes: int) -> None:
    fleet.frontend("--tokenizer-backend", "hf", "--tokenizer-cache-mb", str(megabytes))
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "32768")
    fleet.wait_for_workers(1)
    messages: list[dict[str, Any]] = []
    tokens = []
    with fleet.client() as client:
        for turn in range(6):
            messages.append({"role": "user", "content": f"turn {turn}: " + "many words and " * 100})
            answer = client.chat.completions.create(model="demo", messages=messages, max_tokens=4)  # type: ignore[arg-type]
            assert answer.usage is not None
            tokens.append(answer.usage.prompt_tokens)
            messages.append(
                {"role": "assistant", "content": answer.choices[0].message.content or ""}
            )
    counts = _counts(fleet)
    assert counts["bytes_max"] == megabytes * 2**20
    if megabytes:
        assert (counts["hits_total"], counts["misses_total"]) == (5, 1)
        assert counts["cached_tokens_total"] + counts["uncached_tokens_total"] == sum(tokens)
        assert counts["uncached_tokens_total"] < 0.6 * sum(tokens)
        assert 0 < counts["bytes"] < counts["bytes_max"]
    else:
        assert counts["hits_total"] == counts["misses_total"] == counts["bytes"] == 0
