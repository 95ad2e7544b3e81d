"""What a request may cost before a handler sees it."""

from typing import Final

HEADER_BYTES_MAX: Final = 64 * 1024
"""Bounds the request line and headers together.

Browsers and proxies stop at 8 to 16 KB; trace context and cookies fit many times over. A header
that begins behind another request in the same read is counted from the next read on, so it may be
one read (256 KB) longer. It bounds what comes beside a body's own bytes as well: extensions of
chunks, and trailers, which are dropped.
"""

HEADERS_MAX: Final = 256
"""Bounds the header lines; 64 KB could hold 16,000 of them, and whoever reads a scope walks them
all.
"""

HEADERS_WAIT_S_MAX: Final = 20.0
"""Bounds the time from a connection's start, or a request's first byte, to the end of its headers.

A slow phone needs 2 s; a slowloris, for ever.
"""

BODY_WAIT_S_MAX: Final = 20.0
"""Bounds the time from the end of headers to the first byte of the body, and from an answer to the
end of a body that was answered before it had come.
"""

PIPELINED_REQUESTS_MAX: Final = 64
"""Bounds the requests queued behind a running one: reading stops at the first, but one read
can hold 14,000 requests of 18 bytes.
"""
