"""One connection to one frontend says Hello, beats, hands over what arrives, and holds tokens back
while the frontend is slow.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from protocol.codec import ToFrontend, decode_to_worker, encode
from protocol.errors import ProtocolViolation
from protocol.limits import FRONTEND_SILENT_S_MAX
from protocol.membership import Heartbeat, Hello, RelayHello
from protocol.numbering import Arrival, Numbering, numbers_of
from protocol.process.log_floods import Complaint
from protocol.replies import Delta, StepBatch, joined
from protocol.requests import (
    Abort,
    AnotherWay,
    FrontendHeartbeat,
    HelloWanted,
    Refused,
    Tokenize,
    ToWorker,
    Welcome,
    Work,
)
from protocol.transport.pump import OpenDealer
from protocol.transport.salvage import encodable, refused
from workers.mesh.clock_skew import ClockSkew
from workers.observe.request_counts import RequestCounts

log = logging.getLogger(__name__)

_GARBLED_PAUSE_S: Final = 2.0
"""Two introductions are this many seconds apart where messages cannot be read: their like may come
at once, as from another version.
"""

OnRequest = Callable[["FrontendLink", ToWorker], None]


class FrontendLink:
    """A FrontendLink is the DEALER to one frontend, and what was said over it.

    Deltas that ZMQ has no room for wait here, joined per request, so that what waits is bounded by
    the max_new_tokens of the requests in flight, and those by the credit we granted.

    Args:
        open_dealer: connects.
        hello: our introduction; None while we drain, for then nobody new should count on us.
        on_request: gets Generate, Abort and FetchFile; deadlines are by our clock.
        on_forgotten: the frontend knows nothing of us, hence of none of our requests for it.
        on_welcome: the frontend took us in, and maybe said that it has siblings.
        unix_ms: our clock.
        counts: told the sizes of what is asked and answered.
    """

    def __init__(
        self,
        address: str,
        open_dealer: OpenDealer,
        *,
        hello: Callable[[], Hello | RelayHello | None],
        on_request: OnRequest,
        on_forgotten: "Callable[[FrontendLink], None]",
        unix_ms: Callable[[], float],
        counts: RequestCounts,
        on_welcome: "Callable[[FrontendLink], None]" = lambda _: None,
    ) -> None:
        self.address = address
        self.frontend_heard_at: float | None = None
        self.requests = 0
        """The frontend has this many unfinished requests here, without those that it aborted."""
        self.accepted = False
        """Says whether the frontend took us in over this connection."""
        self.refusal = ""
        """Tells why the frontend did not take us in, in its words; empty if it gave no reason."""
        self.siblings = 0
        """Counts the frontends at the addresses after this one, as the frontend said last."""
        self._hello = hello
        self._on_request = on_request
        self._on_forgotten = on_forgotten
        self._on_welcome = on_welcome
        self._unix_ms = unix_ms
        self._counts = counts
        self._skew = ClockSkew()
        self._loop = asyncio.get_running_loop()
        self._held: dict[str, Delta] = {}
        self._numbering = Numbering()
        self._introduced = False
        self._quiet_until = 0.0
        self._introduced_at = -_GARBLED_PAUSE_S
        self._garbled = False
        """Says whether a message of this session could not be read."""
        self._complaint = Complaint(self._loop.time)
        self._pump = open_dealer(self._on_message, self._flush)

    def send(self, message: ToFrontend) -> bool:
        """Sends one message; False when there is no room or nobody there."""
        frames = encode(message, self._numbering.head())
        sent = self._pump.send(frames)
        if sent:
            self._numbering.note_sent()
            if type(message) is StepBatch:
                self._counts.response_bytes += sum(map(len, frames))
        return sent

    def send_deltas(self, deltas: Sequence[Delta]) -> None:
        """Sends a step's deltas in one message, or holds them until there is room."""
        if not self._held and self._send_step(deltas):
            return
        for delta in deltas:
            held = self._held.get(delta.request_id)
            self._held[delta.request_id] = delta if held is None else joined(held, delta)
        self._flush()

    def beat(self, heartbeat: Heartbeat) -> None:
        """Says that we live, or introduces us first if that was not done yet.

        Silent for a while after a refusal.
        """
        if self._loop.time() < self._quiet_until:
            return
        if not self._introduced:
            self._introduce()
            return
        self.send(heartbeat)
        self._flush()

    def give_up_if_silent(self) -> bool:
        """Tells whether the frontend has just been silent for too long; its requests are given up
        then.
        """
        if self.frontend_heard_at is None:
            return False
        # it says nothing while we keep quiet, as it asked
        silent_since = max(self.frontend_heard_at, self._quiet_until)
        if self._loop.time() - silent_since <= FRONTEND_SILENT_S_MAX:
            return False
        log.warning("frontend %s fell silent", self.address)
        self.frontend_heard_at = None
        self._forgotten()
        return True

    def close(self) -> None:
        """Closes the socket; what was sent leaves within the linger time."""
        self._pump.close()

    def _introduce(self) -> None:
        """Says Hello, the first message of a session. Nodes that only relay KV events have none."""
        hello = self._hello()
        if isinstance(hello, Hello):
            self._numbering = Numbering(self._numbering.session + 1)
            self._introduced_at, self._garbled = self._loop.time(), False
        self._introduced = hello is not None and self.send(hello)

    def _begin_anew(self) -> None:
        self._forgotten()
        self._introduce()

    def _on_gap(self) -> None:
        may_again_at = self._introduced_at + _GARBLED_PAUSE_S
        if self._garbled and self._loop.time() < may_again_at:
            self._quiet_until = may_again_at
            self._forgotten()
            return
        if not self._garbled:  # which was said
            log.warning(
                "messages of frontend %s were lost: introducing ourselves anew", self.address
            )
        self._begin_anew()

    def _forgotten(self) -> None:
        self._introduced = self.accepted = False
        self._held.clear()
        self._on_forgotten(self)

    def _flush(self) -> None:
        if self._held and self._send_step(list(self._held.values())):
            self._held.clear()

    def _send_step(self, deltas: Sequence[Delta]) -> bool:
        try:
            return self.send(StepBatch(list(deltas)))
        except Exception:
            log.exception("an output cannot be sent: its request ends")
            told = encodable(deltas)
            for delta, before in zip(told, deltas, strict=True):
                if delta is not before and before.end is None:
                    self._on_request(self, Abort(delta.request_id))
            return self.send(StepBatch(told))

    def _on_message(self, frames: list[bytes]) -> None:
        try:
            message = decode_to_worker(frames)
            arrival = self._numbering.arrived(*numbers_of(frames[0]))
        except ProtocolViolation as violation:
            self._on_malformed(frames, violation)
            return
        if arrival is Arrival.STALE:
            return
        self.frontend_heard_at = self._loop.time()
        if arrival is Arrival.GAP:
            self._on_gap()
            return
        match message:
            case FrontendHeartbeat():
                if message.unix_ms:
                    self._skew.note(message.unix_ms, self._unix_ms())
            case HelloWanted():
                if message.heard_session in (0, self._numbering.session):
                    self._begin_anew()
            case Welcome():
                log.info("frontend %s (%s) accepted us", message.frontend_id, self.address)
                self.accepted, self.refusal, self.siblings = True, "", message.siblings
                self._on_welcome(self)
            case Refused() | AnotherWay():
                self._keep_quiet(message)
            case _:
                self._hand_over(message, frames)

    def _hand_over(self, message: ToWorker, frames: list[bytes]) -> None:
        """Hands over what is asked, with its deadline by our clock."""
        if isinstance(message, Work):
            self._counts.request_bytes += sum(map(len, frames))
        if self._skew.ahead_ms and isinstance(message, Work | Tokenize):
            deadline_unix_ms = message.deadline_unix_ms + self._skew.ahead_ms
            message = replace(message, deadline_unix_ms=deadline_unix_ms)
        self._on_request(self, message)

    def _keep_quiet(self, message: Refused | AnotherWay) -> None:
        """Asks the frontend, which does not take us in over this connection, no more for as long as
        its answer says.
        """
        refusal = message.reason if isinstance(message, Refused) else ""
        if not refusal:
            log.debug("the frontend at %s has us over another connection", self.address)
        elif refusal != self.refusal:  # it says so again with every try
            log.error(
                "frontend %s refuses us, and is asked again until it does not: %s",
                self.address,
                refusal,
            )
        self.refusal = refusal
        self._quiet_until = self._loop.time() + message.pause_s
        self._introduced = self.accepted = False

    def _on_malformed(self, frames: list[bytes], violation: ProtocolViolation) -> None:
        """Drops a message that cannot be read, whose missing number is then a gap.

        A request is told instead: it would come again, wherever it moves.
        """
        if self._complaint.due():
            log.warning(
                "dropped a malformed message from %s: %s", self.address, violation.message[:200]
            )
        answer = refused(frames, violation.message)
        if answer is not None and self._numbering.arrived(*numbers_of(frames[0])) is Arrival.NEXT:
            self.frontend_heard_at = self._loop.time()
            if isinstance(answer, StepBatch):
                self.send_deltas(answer.deltas)
            else:
                self.send(answer)
        else:
            self._garbled = True
