"""Whoever needs the encodings of a request's pictures is told when there are all of them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec.structs import replace

from protocol.encoding import Encode
from protocol.media import Encoding
from protocol.media_plane import Encodings, FetchEncodings

log = logging.getLogger(__name__)

Reply = Callable[[Encodings], bool]
"""Sends an answer to whoever fetches, and tells whether it could. Two are equal that send over the
same connection.
"""


@dataclass(eq=False)
class Order:
    """An Order is one request's pictures, from when they are asked for until nobody asks about them
    any more.

    Attributes:
        request: what was asked, without the bytes of its pictures.
        made: by digest, what there is so far, until it is given.
        begun: pictures that were encoded on its account.
        fetchers: of those who wait, by what they want: with data or without.
        given: of those who were given all, likewise.
        told: its frontend has been told that it is complete, before anybody who fetches: what the
        frontend hears first is in order then.
        failed: there will be nothing. Its frontend is told, and nobody else: it ends what the
        others do, who would fail for another reason than the frontend hears of here.
    """

    request: Encode
    made: dict[int, Encoding] = field(default_factory=dict[int, Encoding])
    begun: int = 0
    fetchers: dict[bool, Reply] = field(default_factory=dict[bool, Reply])
    given: dict[bool, Reply] = field(default_factory=dict[bool, Reply])
    told: bool = False
    failed: bool = False

    def __post_init__(self) -> None:
        """Lets go of the pictures themselves: whoever encodes one holds it for as long."""
        media = [replace(picture, data=b"") for picture in self.request.media]
        self.request = replace(self.request, media=media)

    @property
    def ended(self) -> bool:
        """Tells whether its frontend is told, or about to be, how it ended."""
        return self.told or self.failed

    @property
    def complete(self) -> bool:
        """Tells whether there is an encoding for each picture."""
        return all(picture.digest in self.made for picture in self.request.media)

    @property
    def encodings(self) -> list[Encoding]:
        """Returns what was made, in the order of the pictures."""
        return [self.made[picture.digest] for picture in self.request.media]

    @property
    def done_with(self) -> bool:
        """Tells whether nobody needs it any more."""
        return self.failed or (self.told and len(self.given) >= self.request.fetches)

    def fail(self) -> None:
        """Notes that there will be nothing."""
        self.failed = True
        self.made.clear()
        self.fetchers.clear()

    def ask(self, fetch: FetchEncodings, reply: Reply) -> None:
        """Answers a fetcher, now or as soon as `settle` finds that there is an answer.

        One that asks again over the connection on which it was given all is told that it was heard:
        the answer is on its way. Over another connection it is given all again.
        """
        if self.given.get(fetch.grids_only) != reply:
            self.fetchers[fetch.grids_only] = reply
        if not self.settle():
            _send(reply, Encodings(fetch.request_id, pending=True))

    def settle(self) -> bool:
        """Answers all who wait, if there is an answer; tells whether somebody was answered."""
        if not self.told or not self.fetchers:
            return False
        for grids_only, reply in self.fetchers.items():
            if _send(reply, self._answer(grids_only=grids_only)):
                self.given[grids_only] = reply
        self.fetchers.clear()
        return True

    def _answer(self, *, grids_only: bool) -> Encodings:
        request_id = self.request.request_id
        if not self.complete:
            return Encodings(request_id, failure="they were fetched, and are not kept any more")
        made = self.encodings
        if grids_only:
            made = [replace(each, holds="grid", columns=0, data=b"") for each in made]
        return Encodings(request_id, made)


def _send(reply: Reply, answer: Encodings) -> bool:
    """Sends an answer; one that cannot be made costs nobody else theirs."""
    try:
        return reply(answer)
    except Exception:
        log.exception("an answer to request %s could not be sent", answer.request_id)
        return False
