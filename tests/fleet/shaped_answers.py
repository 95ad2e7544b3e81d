"""Answers of the demo model that must look like something, whole and streamed."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import openai

MODEL = "kvmesh-demo"
ASK: dict[str, Any] = {
    "model": MODEL,
    "messages": [{"role": "user", "content": "Tell me about kvmesh."}],
    "max_tokens": 800,
    "temperature": 0,
}


def texts(client: openai.OpenAI, **fields: Any) -> list[str]:
    """Return the text of the answer, whole and streamed."""
    with ThreadPoolExecutor(2) as beside:
        return [told.result() for told in telling(beside, client, **fields)]


def telling(beside: ThreadPoolExecutor, client: openai.OpenAI, **fields: Any) -> list[Future[str]]:
    """As texts, side by side with whatever else is asked: a step of the engine takes as long for
    one as for ten.

    They need not be equal: the model was not trained to write into grammars, so that its first two
    choices are often as likely, and a prompt that is found in the cache rounds otherwise.
    """
    extra = {"extra_body": fields.pop("extra")} if "extra" in fields else {}
    asked: dict[str, Any] = ASK | fields | extra
    return [beside.submit(tell, client, asked) for tell in (_whole, _streamed)]


def _whole(client: openai.OpenAI, asked: dict[str, Any]) -> str:
    answer = client.chat.completions.create(**asked).choices[0]
    assert answer.finish_reason == "stop", answer.message.content
    return answer.message.content or ""


def _streamed(client: openai.OpenAI, asked: dict[str, Any]) -> str:
    stream = client.chat.completions.create(**asked, stream=True)
    told = [choice for chunk in stream for choice in chunk.choices]
    text = "".join(one.delta.content or "" for one in told)
    assert told[-1].finish_reason == "stop", text
    return text
