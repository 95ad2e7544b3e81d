"""The server that is measured: where it is, and what each request to it says of itself."""

import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from frontend.cli.addresses import api_url, bracketed

_PORTS = {"http": 80, "https": 443}


class BadUrl(ValueError):
    """A BadUrl says why a URL names no server."""


@dataclass(frozen=True)
class Server:
    """A Server is where requests go.

    Attributes:
        path: that its pages begin with, as /v1, without a slash behind it.
        api_key: that it asks for; told to nobody else.
    """

    host: str
    port: int
    path: str
    tls: ssl.SSLContext | None = None
    api_key: str | None = None

    @classmethod
    def at(cls, url: str, api_key: str | None) -> "Server":
        """Returns the server at a base URL such as http://127.0.0.1:8000/v1, or without the path.

        Raises:
            BadUrl: it is none.
        """
        try:
            parts = urlsplit(api_url(url))
            port = parts.port or _PORTS.get(parts.scheme, 0)
        except ValueError as error:
            raise BadUrl(f"{url} is no URL: {error}") from None
        if parts.username is not None:
            raise BadUrl("--url has no name or password; a key is given in OPENAI_API_KEY")
        if not parts.hostname or not port:
            raise BadUrl(f"--url must be like http://HOST:PORT/v1, got {url}")
        tls = ssl.create_default_context() if parts.scheme == "https" else None
        return cls(parts.hostname, port, parts.path.rstrip("/"), tls, api_key)

    @property
    def url(self) -> str:
        """Returns the base URL, without anything secret."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{bracketed(self.host)}:{self.port}{self.path}"

    def request(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        """Returns a whole GET of a page, or a POST of a body as JSON."""
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        lines = [
            f"{'GET' if body is None else 'POST'} {self.path}{path} HTTP/1.1",
            f"host: {bracketed(self.host)}:{self.port}",
            "user-agent: kvmesh-bench",
            "accept: */*",
        ]
        if self.api_key:
            lines.append(f"authorization: Bearer {self.api_key}")
        if body is not None:
            lines += ["content-type: application/json", f"content-length: {len(content)}"]
        return "\r\n".join([*lines, "", ""]).encode() + content
