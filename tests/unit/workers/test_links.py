"""The connections to all frontends: who is dialled, dropped, and told later."""

import asyncio
from collections.abc import Callable, Collection, Sequence

import pytest

from protocol.codec import decode_to_frontend, encode
from protocol.limits import FRONTEND_SILENT_S_MAX, WIRE_VERSION
from protocol.membership import AdapterList, Heartbeat
from protocol.process.start_error import StartError
from protocol.requests import FrontendHeartbeat, Refused
from protocol.transport.pump import OnFrames, OpenDealer, Pump
from workers.mesh.addresses import AddressBook
from workers.mesh.links import Links
from workers.observe.request_counts import RequestCounts

BEAT = Heartbeat("w", 1, [], None)


class FakePump:
    """A connection that keeps what it was given."""

    def __init__(self, on_frames: OnFrames) -> None:
        self.on_frames = on_frames
        self.sent: list[object] = []
        self.has_room = True
        self.closed = False

    def send(self, frames: Sequence[bytes]) -> bool:
        if self.has_room:
            self.sent.append(decode_to_frontend(list(frames)))
        return self.has_room

    def close(self) -> None:
        self.closed = True


class FakeNet:
    """Addresses behind one name, and the connections to them."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.bad: set[str] = set()
        self.pumps: dict[str, FakePump] = {}
        self.silent: list[Collection[str]] = []

    def open_dealer(self, address: str) -> OpenDealer:
        if address in self.bad:
            raise StartError("no such thing")

        def opened(on_frames: OnFrames, _: Callable[[], None]) -> Pump:
            pump = self.pumps[address] = FakePump(on_frames)
            return pump

        return opened


@pytest.fixture
def net(monkeypatch: pytest.MonkeyPatch) -> FakeNet:
    monkeypatch.setattr("workers.mesh.links.RESOLVE_EVERY_S", 0.0)
    return FakeNet()


@pytest.fixture
def links(net: FakeNet, monkeypatch: pytest.MonkeyPatch) -> Links:
    book = AddressBook(["tcp://frontends:1"])

    async def resolve() -> list[str]:
        book.known = set(net.found)
        return net.found

    monkeypatch.setattr(book, "resolve", resolve)
    return Links(
        book,
        net.open_dealer,
        hello=lambda *_: None,
        on_request=lambda *_: None,
        on_forgotten=lambda _: None,
        on_silent=net.silent.append,
        unix_ms=lambda: 0.0,
        counts=RequestCounts(lambda: 0.0),
    )


async def _look(links: Links) -> None:
    """Dial long enough for a few looks."""
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await links.dial_forever()


async def test_what_dns_names_is_dialled_and_what_it_forgets_is_kept_while_it_answers(
    net: FakeNet, links: Links
) -> None:
    net.found, net.bad = ["a", "bad", "b"], {"bad"}
    await _look(links)
    assert [link.address for link in links] == ["a", "b"]
    assert set(net.silent[-1]) == {"a", "b"}
    net.pumps["a"].on_frames(list(encode(FrontendHeartbeat(0), WIRE_VERSION)))
    net.found = ["c"]
    await _look(links)
    assert [link.address for link in links] == ["a", "c"]
    assert net.pumps["b"].closed
    assert not net.pumps["a"].closed
    links.close()


async def test_a_frontend_that_refuses_us_is_silent_only_behind_the_pause_that_it_asked_for(
    net: FakeNet, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.found = ["a"]
    await _look(links)
    [link] = links
    loop, late_s = asyncio.get_running_loop(), 0.0
    begun_at = loop.time()
    monkeypatch.setattr(loop, "time", lambda: begun_at + late_s)
    net.pumps["a"].on_frames(list(encode(Refused("no", pause_s=30.0), WIRE_VERSION)))
    late_s = 30.0 + FRONTEND_SILENT_S_MAX
    assert not link.give_up_if_silent()
    late_s += 0.1
    assert link.give_up_if_silent()


async def test_who_has_no_room_for_the_adapters_hears_of_them_with_a_beat(
    net: FakeNet, links: Links
) -> None:
    net.found = ["a", "b"]
    await _look(links)
    net.pumps["b"].has_room = False
    links.tell_adapters(["x"])
    assert net.pumps["a"].sent == [AdapterList(["x"])]
    links.beat(BEAT, lambda _: 0.0, stalled=False)
    net.pumps["b"].has_room = True
    links.beat(BEAT, lambda _: 0.0, stalled=False)
    links.beat(BEAT, lambda _: 0.0, stalled=False)
    assert net.pumps["b"].sent == [AdapterList(["x"])]
    assert net.pumps["a"].sent == [AdapterList(["x"])]


async def test_who_had_no_room_for_the_adapters_hears_of_them_in_the_order_of_dialling(
    net: FakeNet, links: Links, monkeypatch: pytest.MonkeyPatch
) -> None:
    net.found = [f"frontend-{number}" for number in range(20)]
    await _look(links)
    for pump in net.pumps.values():
        pump.has_room = False
    links.tell_adapters(["x"])
    told: list[str] = []
    for link in links:
        monkeypatch.setattr(link, "send", lambda _, link=link: told.append(link.address) or True)
        monkeypatch.setattr(link, "beat", lambda _: None)
    links.beat(BEAT, lambda _: 0.0, stalled=False)
    assert told == net.found
