"""Whoever needs the encodings of a request's pictures is told when there are all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from protocol.encoding import Encode
from protocol.media import Encoding
from protocol.media_plane import Encodings, FetchEncodings
from protocol.replies import Failed

Reply = Callable[[Encodings], None]
"""Sends an answer to whoever fetches."""


@dataclass(eq=False)
class Order:
    """An Order is one request's pictures, from when they are asked for until all who need them have
    fetched what was made of them.

    Attributes:
        made: by digest, what there is so far.
        begun: pictures that were encoded on its account.
        fetchers: of those who wait, by what they want: with data or without.
        served: how many have been given all.
        told: its frontend has been told that it is complete, before anybody who fetches: what the
        frontend hears first is in order then.
        failed: why there will be nothing.
    """

    request: Encode
    made: dict[int, Encoding] = field(default_factory=dict[int, Encoding])
    begun: int = 0
    fetchers: dict[bool, Reply] = field(default_factory=dict[bool, Reply])
    served: int = 0
    told: bool = False
    failed: Failed | None = None

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
        return self.told and self.served >= self.request.fetches

    def ask(self, fetch: FetchEncodings, reply: Reply) -> None:
        """Answers a fetcher, now or as soon as `settle` finds that there is an answer."""
        self.fetchers[fetch.grids_only] = reply
        if not self.settle():
            reply(Encodings(fetch.request_id, pending=True))

    def settle(self) -> bool:
        """Answers all who wait, if there is an answer; tells whether there is."""
        if not self.told and self.failed is None:
            return False
        for grids_only, reply in self.fetchers.items():
            reply(self._answer(grids_only=grids_only))
            self.served += 1
        self.fetchers.clear()
        return True

    def _answer(self, *, grids_only: bool) -> Encodings:
        if self.failed is not None:
            return Encodings(self.request.request_id, failure=self.failed.message)
        made: Sequence[Encoding] = self.encodings
        if grids_only:
            made = [replace(each, holds="grid", columns=0, data=b"") for each in made]
        return Encodings(self.request.request_id, list(made))
