"""The same tiny raw-ASGI app for every HTTP server candidate, and the "asgi" system of
bench.compare.run.

POST /count reads and drops the body up to BODY_BYTES_MAX, then answers; POST /stall first waits
STALL_S without reading; POST /stream?N sends N SSE chunks, one a loop turn. POST
/v1/chat/completions does what its body asks for: max_tokens events a BENCH_PACE_MS apart where
"stream" is true, one completion otherwise.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec

BODY_BYTES_MAX = 45 * 1024 * 1024
STALL_S = 1.5
PACE_S = float(os.environ.get("BENCH_PACE_MS", "0")) / 1000
ID = "0" * 32
CHUNK = {
    "id": ID,
    "object": "chat.completion.chunk",
    "created": 1,
    "choices": [{"index": 0, "delta": {"content": "word "}}],
}
EVENT = b"data: " + msgspec.json.encode(CHUNK) + b"\n\n"
END = b'data: {"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":%d}}\n\ndata: [DONE]\n\n'
COMPLETION = {
    "id": ID,
    "object": "chat.completion",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "word"}, "finish_reason": "length"}
    ],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
COMPLETION_BODY = msgspec.json.encode(COMPLETION)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


class ChatBody(msgspec.Struct):
    max_tokens: int = 1
    stream: bool = False


DECODE = msgspec.json.Decoder(ChatBody).decode


async def app(scope: Message, receive: Receive, send: Send) -> None:
    if scope["type"] != "http":
        return  # granian and uvicorn both take silence on "lifespan" for "not supported"
    path = scope["path"]
    if path == "/stall":
        await asyncio.sleep(STALL_S)
    body_bytes, more, pieces = 0, True, list[bytes]()
    while more and body_bytes <= BODY_BYTES_MAX:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body_bytes += len(message["body"])
        more = message.get("more_body", False)
        if path == "/v1/chat/completions":
            pieces.append(message["body"])
    if body_bytes > BODY_BYTES_MAX:
        await _answer(send, 413, b'{"error":{"code":"body_too_large"}}', close=True)
    elif path == "/stream":
        await _stream(send, int(scope["query_string"] or b"1"))
    elif pieces:
        chat = DECODE(b"".join(pieces))
        await (
            _stream(send, chat.max_tokens) if chat.stream else _answer(send, 200, COMPLETION_BODY)
        )
    else:
        await _answer(send, 200, b'{"body_bytes":%d}' % body_bytes)


async def _answer(send: Send, status: int, body: bytes, close: bool = False) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if close:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _stream(send: Send, chunks: int) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"text/event-stream")],
        }
    )
    due = asyncio.get_running_loop().time()
    for _ in range(chunks):
        due += PACE_S
        await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()) if PACE_S else 0)
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
    await send({"type": "http.response.body", "body": END % chunks})
