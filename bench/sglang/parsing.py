"""`python -m bench.sglang.parsing`: what a worker pays per token for reading answers with SGLang's
parsers.

SGLang's parsers and the demo model's tokenizer, no engine; fed token by token as engine steps bring
them. Run it where nothing else runs.
"""

import json
import statistics
import sys
import time
from types import SimpleNamespace
from typing import Any

from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()

from sglang.srt import runtime_context  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

from protocol.generation import (  # noqa: E402
    Finished,
    Generate,
    Reading,
    Sampling,
)
from protocol.tokens import pack_tokens  # noqa: E402
from workers.demo_model import demo_model_dir  # noqa: E402
from workers.sglang.arguments import parse_server_args  # noqa: E402
from workers.sglang.reading import Readings  # noqa: E402

ROUNDS = 5
PROSE = "The river was wide and slow, and the boats upon it carried grain to the towns below. "
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "write",
            "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
        },
    }
]


def readings(
    tokenizer: Any, server_args: Any, *, tool_calls: str | None, thinking: str | None
) -> Readings:
    """Of a chat serving without an engine."""
    parsers = {"tool_call_parser": tool_calls, "reasoning_parser": thinking}
    config = SimpleNamespace(model_type="qwen3", architectures=["Qwen3ForCausalLM"])
    manager = SimpleNamespace(
        tokenizer=tokenizer,
        server_args=server_args,
        served_model_name="m",
        model_path=server_args.model_path,
        config_value=lambda name: parsers.get(name, getattr(server_args, name, None)),
        model_config=SimpleNamespace(
            get_default_sampling_params=dict, hf_config=config, is_multimodal=False
        ),
    )
    templates = SimpleNamespace(
        force_reasoning=False,
        reasoning_config=None,
        chat_template_name=None,
        python_chat_template=None,
    )
    return Readings(manager, templates)


def call(sentences: int) -> str:
    return (
        '<tool_call>\n{"name": "write", "arguments": '
        f"{json.dumps({'text': PROSE * sentences})}}}\n</tool_call>"
    )


def xml_call(sentences: int) -> str:
    return "\n".join((
        "<tool_call>", "<function=write>", "<parameter=text>", PROSE * sentences,
        "</parameter>", "</function>", "</tool_call>",
    ))  # fmt: skip


def cost_us(read: Readings, chat: bytes, ids: list[int]) -> tuple[float, float, float]:
    """Microseconds: to plan, per token fed, at the end."""
    rows: list[tuple[float, float, float]] = []
    request = Generate(
        "a" * 32, "m", pack_tokens([1]), Sampling(4_096), 4_000_000_000_000, reading=Reading(chat)
    )
    for _ in range(ROUNDS):
        begun = time.process_time()
        reader = read.plan(request).reader
        planned = time.process_time()
        for token_id in ids:
            reader.feed((token_id,))
        fed = time.process_time()
        reader.end((), Finished("stop", 1, len(ids)))
        rows.append(
            (
                (planned - begun) * 1e6,
                (fed - planned) * 1e6 / len(ids),
                (time.process_time() - fed) * 1e6,
            )
        )
    planned_us, fed_us, ended_us = (statistics.median(column) for column in zip(*rows, strict=True))
    return planned_us, fed_us, ended_us


def main() -> None:
    server_args = parse_server_args(
        ["--model-path", str(demo_model_dir())], cpu=True, kv_events=False
    )
    runtime_context.publish(server_args, role="tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(demo_model_dir())
    tools, thinking = json.dumps({"model": "m", "tools": TOOLS}).encode(), b'{"model":"m"}'
    short, long = 20, 100
    rows = (
        ("plain text", None, None, b"", PROSE * short),
        ("thinking, qwen3", None, "qwen3", thinking, f"<think>{PROSE * short}</think>{PROSE}"),
        ("prose beside tools, qwen", "qwen", None, tools, PROSE * short),
        ("a call, qwen", "qwen", None, tools, call(short)),
        ("a long call, qwen", "qwen", None, tools, call(long)),
        ("a call, qwen3_coder", "qwen3_coder", None, tools, xml_call(short)),
        ("a long call, qwen3_coder", "qwen3_coder", None, tools, xml_call(long)),
    )
    print(f"{'':28}{'tokens':>8}{'plan us':>10}{'us/token':>10}{'end us':>10}")
    for name, tool_calls, reasoning, chat, text in rows:
        read = readings(tokenizer, server_args, tool_calls=tool_calls, thinking=reasoning)
        ids = tokenizer.encode(text, add_special_tokens=False)
        planned, fed, ended = cost_us(read, chat, ids)
        print(f"{name:28}{len(ids):8}{planned:10.0f}{fed:10.2f}{ended:10.0f}")


if __name__ == "__main__":
    sys.exit(main())
