"""The connections of one worker to all its frontends are dialled, dialled again, beaten and told
here.
"""

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection, Iterable, Iterator
from functools import partial

from msgspec.structs import replace

from protocol.codec import ToFrontend
from protocol.membership import AdapterList, Heartbeat, Hello, RelayHello
from protocol.process.start_error import StartError
from protocol.siblings import sibling_address
from protocol.transport.pump import OpenDealer
from workers.mesh.addresses import ADDRESSES_MAX, AddressBook
from workers.mesh.frontend_link import FrontendLink, OnRequest
from workers.observe.request_counts import RequestCounts

log = logging.getLogger(__name__)

RESOLVE_EVERY_S = 5.0
"""A new frontend behind a DNS name (a headless Service) is looked for every so many seconds."""


class Links:
    """Links holds one FrontendLink for each address that the address book knows.

    Args:
        open_dealer: connects to an address; raises StartError if it cannot be dialled.
        hello: the introduction for an address over a connection of that number.
        on_request: as of FrontendLink.
        on_forgotten: as of FrontendLink.
        on_silent: told, with every look at the addresses, those of which nothing is heard.
        unix_ms: wall clock.
        counts: as of FrontendLink.
    """

    def __init__(
        self,
        addresses: AddressBook,
        open_dealer: Callable[[str], OpenDealer],
        *,
        hello: Callable[[str, int], Hello | RelayHello | None],
        on_request: OnRequest,
        on_forgotten: Callable[[FrontendLink], None],
        on_silent: Callable[[Collection[str]], None],
        unix_ms: Callable[[], float],
        counts: RequestCounts,
    ) -> None:
        self._addresses = addresses
        self._open_dealer = open_dealer
        self._hello = hello
        self._on_request = on_request
        self._on_forgotten = on_forgotten
        self._on_silent = on_silent
        self._unix_ms = unix_ms
        self._counts = counts
        self._ways = itertools.count(1)
        self._links: dict[str, FrontendLink] = {}
        self._adapters: AdapterList | None = None
        self._untold: dict[FrontendLink, None] = {}
        """These frontends, in order, have yet to hear of the adapters, for want of room."""

    def __iter__(self) -> Iterator[FrontendLink]:
        """Yields every connection, whether anybody is at its other end or not."""
        return iter(self._links.values())

    @property
    def accepted(self) -> int:
        """Returns over how many connections a frontend took the worker in."""
        return sum(link.accepted for link in self)

    @property
    def refusal(self) -> str:
        """Returns why a frontend did not take the worker in, in its words; empty if none
        refused.
        """
        return next((link.refusal for link in self if link.refusal), "")

    async def dial_forever(self) -> None:
        """Connects to what the addresses stand for, and looks again and again for what is new."""
        while True:
            self._dial_new(await self._addresses.resolve())
            self._drop_unnamed()
            silent = [link.address for link in self if link.frontend_heard_at is None]
            self._on_silent([*silent, *self._addresses.unresolved])
            await asyncio.sleep(RESOLVE_EVERY_S)

    def beat(
        self,
        heartbeat: Heartbeat,
        others_share: Callable[[FrontendLink], float],
        *,
        stalled: bool,
    ) -> None:
        """Says to every frontend that we live, and gives up those that do not.

        Args:
            others_share: of the requests here, those of other frontends than that of a link.
            stalled: our own loop stood still: what the frontends said meanwhile is still unread.
        """
        for link in tuple(self._untold):
            self._tell(link)
        for link in self:
            try:
                link.beat(
                    replace(heartbeat, others_share=others_share(link))
                    if len(self._links) > 1
                    else heartbeat
                )
                if not stalled:
                    link.give_up_if_silent()
            except Exception:
                # the others get theirs
                log.exception("defect in the heartbeat to frontend %s", link.address)

    def send(self, message: ToFrontend) -> None:
        """Sends a message to every frontend that has room for it."""
        for link in self:
            link.send(message)

    def tell_adapters(self, names: list[str]) -> None:
        """Sends the names of the adapters to every frontend; who has no room gets them later."""
        log.info("LoRA adapters: %s", ", ".join(names) or "none")
        self._adapters = AdapterList(names)
        for link in self:
            self._tell(link)

    def close(self) -> None:
        """Closes every connection; what was sent leaves within the linger time."""
        for link in self:
            link.close()

    def _dial_new(self, addresses: Iterable[str]) -> None:
        for address in addresses:
            if address in self._links or len(self._links) >= ADDRESSES_MAX:
                continue
            try:
                self._links[address] = self._dial(address)
            # DNS gave something that cannot be dialled; the next answer may be better
            except StartError as error:
                log.error("cannot dial the frontend at %s: %s", address, error)

    def _dial_siblings(self, link: FrontendLink) -> None:
        self._dial_new(_siblings_of(link))

    def _dial(self, address: str) -> FrontendLink:
        return FrontendLink(
            address,
            self._open_dealer(address),
            hello=partial(self._hello, address, next(self._ways)),
            on_request=self._on_request,
            on_forgotten=self._on_forgotten,
            on_welcome=self._dial_siblings,
            unix_ms=self._unix_ms,
            counts=self._counts,
        )

    def _drop_unnamed(self) -> None:
        """Drops the addresses that neither DNS names any longer nor a frontend whose siblings are
        there, but keeps one while anyone answers there.
        """
        named = self._addresses.known.union(*map(_siblings_of, self))
        for address in [
            link.address
            for link in self
            if link.address not in named and link.frontend_heard_at is None
        ]:
            link = self._links.pop(address)
            self._untold.pop(link, None)
            link.close()

    def _tell(self, link: FrontendLink) -> None:
        if self._adapters is None or link.send(self._adapters):
            self._untold.pop(link, None)
        else:
            self._untold[link] = None


def _siblings_of(link: FrontendLink) -> list[str]:
    """Returns where the siblings are that a frontend told of."""
    try:
        return [sibling_address(link.address, 1 + index) for index in range(link.siblings)]
    except ValueError as error:
        log.error("a frontend has siblings that cannot be found: %s", error)
        return []
