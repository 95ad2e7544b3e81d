"""Run as a program: answers that SGLang's parsers take long for, read where they are moved to, and
once more where they are whole.

Prints {format: [longest step in CPU seconds, all of it, whether all of the text was told]}. A step
is what is done between two turns of the worker's loop. A program, since SGLang imports torch.
"""

import json
import logging
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "sglang"))

from read_recordings import TOOLS, World
from sglang.srt import runtime_context
from transformers import AutoTokenizer

from protocol.generation import Content, Finished, Generate, Part, Reading, Sampling, ToolCall
from protocol.tokens import pack_tokens
from workers.demo_model import demo_model_dir
from workers.sglang.arguments import parse_server_args

CHARS = 24_000
PROMPT = [1, 2]
ANSWERS = {
    "qwen, brackets": ("qwen", "<tool_call>\n" + "[" * CHARS),
    "qwen, nested": ("qwen", '<tool_call>\n{"x":' + '{"a":' * (CHARS // 5)),
    "qwen, beginnings": ("qwen", "<tool_call>\n" * (CHARS // 12)),
    "llama3, beginnings": ("llama3", "<|python_tag|>x" * (CHARS // 15)),
    "hunyuan, beginnings": ("hunyuan", "<tool_calls>\n<tool_call>f<tool_sep>" * (CHARS // 36)),
    "dots, line feeds": ("dots", "<dots_function_call>" + "\n" * CHARS),
    "interns1, blanks": ("interns1", "<|action_start|> <|plugin|>" + " " * CHARS),
    "minicpm5, beginnings": ("minicpm5", "<function=f>" * (CHARS // 12)),
}


def main() -> None:
    logging.disable(logging.CRITICAL)
    server_args = parse_server_args(
        ["--model-path", str(demo_model_dir())], cpu=True, kv_events=False
    )
    runtime_context.publish(server_args, role="tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(demo_model_dir())
    results = {
        name: measured(World(tokenizer, server_args, tool_calls=parser), text)
        for name, (parser, text) in ANSWERS.items()
    }
    json.dump(results, sys.stdout)


def measured(world: World, text: str) -> tuple[float, float, bool]:
    """The answer without its last token is replayed, as after a move; then that token comes, and
    the end.
    """
    *shown, last = world.tokens(text)
    reading = Reading(
        json.dumps({"model": "m", "tools": TOOLS}).encode(),
        replayed_tokens=len(shown),
        first_request_id="b" * 32,
    )
    prompt = pack_tokens([*PROMPT, *shown])
    plan = world._readings.plan(
        Generate("a" * 32, "m", prompt, Sampling(10_000), 4_000_000_000_000, reading=reading)
    )
    steps, before = [0.0], time.thread_time()
    told: list[Part] = []
    replay = plan.replay()
    ended = False
    while not ended:
        ended = next(replay, plan) is plan
        if ended:
            told = plan.reader.end([last], Finished("length", 2, len(shown) + 1))
        now = time.thread_time()
        steps, before = [*steps, now - before], now
    chars = sum(
        len(part.arguments if isinstance(part, ToolCall) else part.text)
        for part in told
        if isinstance(part, Content | ToolCall)
    )
    return max(steps), sum(steps), chars > len(text) // 2


if __name__ == "__main__":
    main()
