"""Recognizes posts that a browser sends for a web page without asking this server first."""

from collections.abc import Iterable


def sent_by_page(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Returns whether a browser says that a web page sends this; programs do not say so.

    A browser asks first (CORS) where a page of another site says that it sends JSON, so that only a
    body that says nothing need be judged by this. A page that sends one is no client of an API,
    wherever it comes from.
    """
    return any(
        name == b"origin" or (name == b"sec-fetch-site" and value != b"none")
        for name, value in headers
    )


def asked_before(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Returns whether a browser asked this server before it let a page send this, whatever its
    body: it does where the page sets an authorization header, but for the passwords of addresses
    (Basic), which it adds by itself.
    """
    return any(
        name == b"authorization" and value[:7].lower() == b"bearer " for name, value in headers
    )
