"""An application that tells what arrived, and what its clients read."""

import asyncio
import json

from tests.unit.http.serving import Connect

FLOOD_BYTES = 1_500_000


async def echo_length(scope, receive, send):
    """Answers with the body's length and how many headers came; /wait begins and
    does not end, /held ends when it may, /flood has no end, /at-once answers before the body has
    come.
    """
    length, more = 0, scope["path"] != "/at-once"
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        length, more = length + len(message["body"]), message["more_body"]
    if scope["path"] in ("/wait", "/held"):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
    if scope["path"] == "/held":
        await scope["state"]["released"].wait()
        await send({"type": "http.response.body", "body": b""})
        return
    if scope["path"] == "/wait":
        while (await receive())["type"] != "http.disconnect":
            pass
        scope["state"]["ended"].put_nowait("/wait")
        return
    if scope["path"] == "/flood":
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % FLOOD_BYTES)],
            }
        )
        for sent_bytes in range(0, FLOOD_BYTES, 10_000):
            await send(
                {
                    "type": "http.response.body",
                    "body": b"x" * 10_000,
                    "more_body": sent_bytes + 10_000 < FLOOD_BYTES,
                }
            )
        return
    body = b"%d %d" % (length, len(scope["headers"]))
    if scope["path"] == "/at-once":
        body = b"at once"
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"%d" % len(body))],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def answer_to(connect: Connect, *pieces: bytes) -> bytes:
    """Everything the server says until it closes; each piece is sent when the one before it has
    gone out.
    """
    reader, writer = await connect()
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
    except OSError:
        pass  # cut off: what was said before is still readable
    return await reader.read()


def error_of(answer: bytes, status: int) -> dict[str, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return error


async def rest_of(reader: asyncio.StreamReader) -> bytes:
    """What still comes before the connection is closed or, with our bytes unread, reset."""
    said = b""
    try:
        while piece := await reader.read(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


START = b"POST / HTTP/1.1\r\nhost: x\r\n"
CLOSE = b"connection: close\r\n"
