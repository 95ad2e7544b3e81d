"""What /metrics says of requests, by the names that boards for the reference product ask for."""

from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.kit.fleet import Fleet

START = "dynamo_frontend_"
CHAT: dict[str, Any] = {
    "model": "demo",
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 8,
}


def samples(fleet: Fleet) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """All samples of a frontend, by name and labels."""
    text = httpx.get(f"{fleet.url}/metrics").text
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Rise:
    """How much each metric has risen since it was made."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._before = samples(fleet)

    def __call__(self, name: str, **labels: str) -> float:
        now = samples(self._fleet)
        return sum(
            value - self._before.get(key, 0.0)
            for key, value in now.items()
            if key[0] == name and set(labels.items()) <= key[1]
        )


@pytest.fixture
def rise(shared: Fleet) -> Rise:
    return Rise(shared)


def chat(client: openai.OpenAI, **fields: Any) -> Any:
    """A streamed chat of eight tokens; its usage."""
    stream = client.chat.completions.create(
        **CHAT, stream=True, stream_options={"include_usage": True}, **fields
    )
    return list(stream)[-1].usage


def test_a_streamed_chat_is_counted_in_each_series(client: openai.OpenAI, rise: Rise) -> None:
    usage = chat(client)
    labels = {"model": "demo", "endpoint": "chat_completions", "request_type": "stream"}
    assert rise(f"{START}requests_total", **labels, status="success", error_type="") == 1
    assert rise(f"{START}requests_started_total", **labels) == 1
    assert rise(f"{START}output_tokens_total", model="demo") == 8
    for name, total in (
        ("input_sequence_tokens", usage.prompt_tokens),
        ("output_sequence_tokens", 8),
        ("cached_tokens", usage.prompt_tokens_details.cached_tokens),
    ):
        assert rise(f"{START}{name}_count", model="demo") == 1, name
        assert rise(f"{START}{name}_sum", model="demo") == total, name
    for name in ("request_duration_seconds", "time_to_first_token_seconds"):
        assert rise(f"{START}{name}_count", model="demo") == 1, name
        assert rise(f"{START}{name}_bucket", model="demo", le="+Inf") == 1, name
        assert rise(f"{START}{name}_sum", model="demo") > 0, name
    for stage in ("preprocess", "route", "prefill", "decode"):
        assert rise(f"{START}stage_duration_seconds_count", model="demo", stage=stage) == 1


def test_whole_answers_have_no_time_to_a_first_token(client: openai.OpenAI, rise: Rise) -> None:
    client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
    labels = {"model": "demo", "endpoint": "chat_completions", "request_type": "unary"}
    assert rise(f"{START}requests_total", **labels, status="success", error_type="") == 1
    assert rise(f"{START}output_tokens_total", model="demo") == 8
    assert rise(f"{START}time_to_first_token_seconds_count") == 0
    assert rise(f"{START}inter_token_latency_seconds_count") == 0
