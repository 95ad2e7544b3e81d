"""Says where clients fetch what a worker made."""

import re
from typing import Final

from frontend.http.exchange import Exchange
from protocol.diffusion import Output

MEDIA_PATH: Final = "/v1/media/"
"""Is where a frontend serves outputs, by their names."""

_HOST: Final = re.compile(rb"[\w.\-]{1,255}(:\d{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:\d{1,5})?")


def link_of(exchange: Exchange, output: Output) -> str:
    """Returns the URL of an output: the worker's own, if it has one, or else that of the frontend
    as its client named it.

    A proxy that takes TLS off says so by `x-forwarded-proto`; what a client makes up there misleads
    nobody but itself.
    """
    if output.url:
        return output.url
    path = MEDIA_PATH + output.output_id
    host = exchange.header(b"host")
    if host is None or not _HOST.fullmatch(host):
        return path
    scheme = exchange.header(b"x-forwarded-proto")
    if scheme not in (b"http", b"https"):
        scheme = exchange.scope["scheme"].encode()
    return f"{scheme.decode()}://{host.decode()}{path}"
