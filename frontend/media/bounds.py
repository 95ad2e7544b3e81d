"""Bounds what the media of one request may take."""

from dataclasses import dataclass

from protocol.media import MEDIA_MAX


@dataclass(frozen=True, kw_only=True)
class MediaBounds:
    """MediaBounds holds the bounds on the media of a request, and on how they are fetched.

    All media of a request together are bounded by its body, or by what a message of the mesh takes.
    """

    item_bytes_max: int = 20 * 2**20
    """Bounds the bytes of one medium, as sent; a telephone's photographs have up to ten million."""
    request_bytes_max: int = 45 * 10**6
    """Bounds the bytes of all media of a request: as much as its body may have, and less than a
    message to a worker (protocol.limits.MESSAGE_BYTES_MAX).
    """
    pixels_max: int = 64 * 10**6
    """Bounds the pixels of a picture, which its header says: a decoder makes four bytes of each,
    however few bytes were sent. Cameras of today make up to 50 million.
    """
    items_max: int = MEDIA_MAX
    long_items_max: int = 8
    """Bounds those that last: what a worker makes of a video, which it has beside the others of its
    request, is up to a gigabyte, of a sound some hundred megabytes.
    """
    fetch_s_max: float = 10.0
    """Bounds the time of one fetch, redirects included."""
    redirects_max: int = 3
    """Bounds the hops of one fetch: stores of pictures send clients on once or twice."""
    fetches_max: int = 16
    """Bounds the fetches under way at once in a frontend; others wait for as long as their requests
    may take. Each holds up to `item_bytes_max`.
    """
    fetches_of_entry_max: int = 8
    """Bounds those from the hosts of one entry of the operator's list, where it has several: a slow
    host keeps nobody from the others.
    """
    fetches_of_one_max: int = 4
    """Bounds those of one request: with many URLs of slow hosts it would have all places for long,
    and they are given in the order in which they were asked for.
    """
