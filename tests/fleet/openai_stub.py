"""A small server of somebody else's, which streams as OpenAI's do, and fails as it is told to."""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Manners:
    """How the server behaves.

    Attributes:
        refuses: fields that are errors to it.
        tells_usage: it counts tokens, one a word.
        fails_every: of the streamed requests is refused, or breaks off where `breaks_off`.
        closes: the connection after each answer, which has no length, as of old.
        tls: its certificate, if it speaks TLS.
        key: that it wants.
        bodies: of what it was asked.
    """

    refuses: tuple[str, ...] = ()
    tells_usage: bool = True
    fails_every: int = 0
    breaks_off: bool = False
    closes: bool = False
    tls: ssl.SSLContext | None = None
    key: str = ""
    bodies: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    counted: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def fails_now(self) -> bool:
        """Whether this streamed request fails."""
        with self.lock:
            self.counted += 1
            return bool(self.fails_every) and self.counted % self.fails_every == 0


class Handler(BaseHTTPRequestHandler):
    """Answers one client."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.is_let_in():
            self.answer(200, {"object": "list", "data": [{"id": "theirs"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if not self.is_let_in():
            return
        self.manners.bodies.append(body)
        refused = next((name for name in self.manners.refuses if name in body), None)
        if refused is not None:
            self.answer(400, {"error": {"message": f"Unknown parameter: {refused}"}})
            return
        count = body.get("max_tokens") or body["max_completion_tokens"]
        prompt = body.get("prompt") or body["messages"][0]["content"]
        usage = {"prompt_tokens": len(prompt.split()) + 7, "completion_tokens": count}
        if not body["stream"]:
            self.answer(200, {"usage": usage} if self.manners.tells_usage else {})
        elif self.manners.fails_now() and not self.manners.breaks_off:
            self.answer(429, {"error": {"message": "Slow down"}})
        else:
            self.stream(body, count, usage)

    def stream(self, body: dict[str, Any], count: int, usage: dict[str, int]) -> None:
        self.send_response(200)
        if self.manners.closes:
            self.send_header("connection", "close")
        else:
            self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        broken = bool(self.manners.breaks_off and self.manners.fails_every) and (
            self.manners.counted % self.manners.fails_every == 0
        )
        for _ in range(count):
            self.event({"choices": [{"delta": {"content": "word "}}]})
        if broken:
            self.close_connection = True
            return
        if self.manners.tells_usage and "stream_options" in body:
            self.event({"choices": [], "usage": usage})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def event(self, event: dict[str, Any]) -> None:
        self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def chunk(self, data: bytes) -> None:
        self.wfile.write(data if self.manners.closes else b"%x\r\n%s\r\n" % (len(data), data))

    def is_let_in(self) -> bool:
        let_in = (
            not self.manners.key or self.headers["authorization"] == f"Bearer {self.manners.key}"
        )
        if not let_in:
            self.answer(401, {"error": {"message": "Incorrect API key provided"}})
        return let_in

    def answer(self, status: int, told: dict[str, Any]) -> None:
        content = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    @property
    def manners(self) -> Manners:
        """How the server behaves."""
        assert isinstance(self.server, Server)
        return self.server.manners


class Server(ThreadingHTTPServer):
    """A server with manners; clients that stay do not keep it."""

    daemon_threads = True

    def __init__(self, manners: Manners) -> None:
        self.manners = manners
        super().__init__(("127.0.0.1", 0), Handler)
        if manners.tls is not None:
            self.socket = manners.tls.wrap_socket(self.socket, server_side=True)


@contextmanager
def serving(manners: Manners) -> Iterator[str]:
    """The base URL of such a server."""
    server = Server(manners)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        scheme = "http" if manners.tls is None else "https"
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
