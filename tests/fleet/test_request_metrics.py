"""What /metrics says of requests, by the names that boards for the reference product ask for."""

from pathlib import Path
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


def test_template_and_tokenizer_are_timed_of_some_chats(client: openai.OpenAI, rise: Rise) -> None:
    names = [f"{START}{what}_seconds" for what in ("template", "tokenize")]
    for _ in range(500):  # one in 16, by lot
        client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
        if rise(f"{names[0]}_count"):
            break
    for name in names:
        assert rise(f"{name}_count") == 1
        assert rise(f"{name}_sum") > 0


def test_whole_answers_have_no_time_to_a_first_token(client: openai.OpenAI, rise: Rise) -> None:
    client.chat.completions.create(**CHAT)  # type: ignore[call-overload]
    labels = {"model": "demo", "endpoint": "chat_completions", "request_type": "unary"}
    assert rise(f"{START}requests_total", **labels, status="success", error_type="") == 1
    assert rise(f"{START}output_tokens_total", model="demo") == 8
    assert rise(f"{START}time_to_first_token_seconds_count") == 0
    assert rise(f"{START}inter_token_latency_seconds_count") == 0


def test_what_clients_make_up_is_in_no_label(shared: Fleet, rise: Rise) -> None:
    hostile = "made-up-" + "x" * 20
    for body, headers in (
        ({**CHAT, "model": hostile}, {"x-request-id": hostile}),
        ({**CHAT, "messages": []}, {}),
        ({**CHAT, "temperature": hostile}, {}),
    ):
        httpx.post(f"{shared.url}/v1/chat/completions", json=body, headers=headers)
    httpx.post(f"{shared.url}/v1/{hostile}", json=CHAT)
    ended = f"{START}requests_total"
    labels = {"endpoint": "chat_completions", "request_type": "unary", "status": "error"}
    assert rise(ended, **labels, model="", error_type="not_found") == 1
    assert rise(ended, **labels, error_type="validation") == 2
    assert rise("kvmesh_frontend_request_errors_total", code="model_not_found") == 1
    assert rise(f"{START}failures_total", **{"class": "InvalidRequest"}) == 2
    assert hostile not in httpx.get(f"{shared.url}/metrics").text


def test_a_page_that_runs_no_model_is_counted_apart(shared: Fleet, rise: Rise) -> None:
    httpx.post(f"{shared.url}/tokenize", json={"model": "demo", "prompt": "hi"}).raise_for_status()
    httpx.get(f"{shared.url}/v1/chat/completions")
    others = "kvmesh_frontend_other_requests_total"
    assert rise(others, endpoint="tokenize", code="") == 1
    assert rise(others, endpoint="chat_completions", code="method_not_allowed") == 1
    assert rise(f"{START}requests_total") == 0


def test_models_are_described(shared: Fleet) -> None:
    told = samples(shared)
    demo = frozenset({("model", "demo")})
    assert told[f"{START}model_ready", demo] == 1
    assert told[f"{START}model_context_length", demo] == 4_096
    assert told[f"{START}model_migration_limit", demo] == 3
    blocks = told[f"{START}model_total_kv_blocks", demo]
    assert blocks * told[f"{START}model_kv_cache_block_size", demo] > 4_096
    assert told[f"{START}model_max_num_seqs", demo] > 1
    assert told[f"{START}model_max_num_batched_tokens", demo] > 1


def test_names_and_buckets_are_settings(fleet: Fleet) -> None:
    fleet.frontend(
        "--metrics-ttft-count",
        "4",
        env={"DYN_METRICS_PREFIX": "my_frontend", "DYN_METRICS_TTFT_MAX": "100"},
    )
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0")
    fleet.wait_for_workers(1)
    with fleet.client() as client:
        chat(client)
    told = samples(fleet)
    assert not [name for name, _ in told if name.startswith(START)]
    name = "my_frontend_time_to_first_token_seconds_bucket"
    bounds = {dict(labels)["le"] for each, labels in told if each == name}
    assert bounds == {"0.0", "0.046", "2.2", "100.0", "+Inf"}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--metrics-prefix", "7 of nine"),
        ("--metrics-itl-min", "3"),
        ("--metrics-ttft-min", "nan"),
        ("--metrics-input-sequence-max", "inf"),
        ("--metrics-output-sequence-count", "513"),
    ],
)
def test_a_layout_that_is_none_is_refused_at_the_start(
    fleet: Fleet, option: str, value: str
) -> None:
    frontend = fleet.frontend(option, value)
    assert frontend.popen.wait(30) == 3
    assert option.rpartition("-")[0] in frontend.output()


def test_every_series_of_the_reference_product_is_documented(
    shared: Fleet, client: openai.OpenAI
) -> None:
    chat(client)
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text()
    told = {
        name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count")
        for name, _ in samples(shared)
        if name.startswith("dynamo_") and not name.endswith("_created")
    }
    assert len(told) > 20
    assert sorted(name for name in told if f"`{name}`" not in text) == []
