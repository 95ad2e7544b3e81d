"""Defects of one line, planted in production code by tests/simulation/breakages.py."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Breakage:
    """A defect.

    Attributes:
        name: area and what is wrong.
        text: stands in one place of the packages.
        instead: what stands there then.
        unseen: why no world can see it; empty if one should.
    """

    name: str
    text: str
    instead: str
    unseen: str = ""


BREAKAGES: Final = (
    # -- a frontend's membership
    Breakage(
        "mesh: a silent worker is kept",
        "elif now - worker.heard_at > WORKER_SILENT_S_MAX:",
        "elif False:",
    ),
    Breakage(
        "mesh: silence is judged after standing still",
        "stalled = now - self._beat.when() > HEARTBEAT_INTERVAL_S",
        "stalled = False",
    ),
    Breakage(
        "mesh: a broken connection is not noticed",
        'self._lose(worker, "died", "its connection is gone")',
        "pass",
    ),
    Breakage(
        "mesh: requests of a lost worker are not told",
        "self._dispatch.fail_all(worker, cause)\n",
        "pass\n",
    ),
    Breakage(
        "mesh: an unhealthy worker goes on to get work",
        "            worker.unhealthy = unhealthy\n            self._registry.refresh(worker)",
        "            self._registry.refresh(worker)",
    ),
    Breakage(
        "mesh: requests stay on an unhealthy worker",
        "if unhealthy and worker.bookings and (entry is None or entry.ready):",
        "if False:",
    ),
    Breakage(
        "following: who waits is not sent when its turn has come",
        "for held in self._leaders.computed(request_id):",
        "for held in self._leaders.computed(request_id)[1:]:",
    ),
    Breakage(
        "mesh: a Goodbye is not heard",
        '"stopped" if goodbye.planned else "died"',
        '"stopped"',
    ),
    Breakage("mesh: Draining is not heard", "self._registry.drain(worker)", "pass"),
    Breakage(
        "mesh: the namesake of a newcomer stays",
        "if namesake is not None:",
        "if False:",
        unseen="newcomers are refused until the namesake is silent, and then a beat ends that one",
    ),
    Breakage("mesh: workers hear no beat", "self._wire.send(worker, beat)\n", "pass\n"),
    Breakage(
        "mesh: who is missed is not asked back",
        "self._wire.tell(missed.identity, HelloWanted(missed.session))",
        "pass",
        unseen="a worker that wakes beats, and is asked for its Hello then",
    ),
    Breakage(
        "mesh: a worker that is not known is not asked for its Hello",
        "        elif worker is None or worker.hello.epoch != heartbeat.epoch:\n"
        "            self._wire.tell(identity, HelloWanted(session))",
        "        elif worker is None or worker.hello.epoch != heartbeat.epoch:\n            pass",
    ),
    # -- numbers
    Breakage(
        "numbering: repeated messages are taken",
        "session == self.session and number <= self._received)",
        "session == self.session and number < self._received)",
    ),
    Breakage(
        "numbering: lost messages are not noticed",
        "if session > self.session or number > self._received + 1:",
        "if session > self.session:",
    ),
    Breakage(
        "numbering: late messages of old sessions are taken",
        "if session < self.session or (",
        "if (",
        unseen="they are a gap then, so a session begins anew: slower, and not wrong",
    ),
    Breakage(
        "numbering: a worker does not count what it sent",
        "        if sent:\n            self._numbering.note_sent()",
        "        if sent:\n            pass",
    ),
    # -- intake and credit of a worker
    Breakage(
        "intake: the credit of what ended does not return",
        "                else:\n                    requester.requests -= 1",
        "                else:\n                    pass",
    ),
    Breakage(
        "intake: an abort is counted twice",
        "is requester and request_id not in self._aborted:",
        "is requester:",
        unseen="a frontend aborts each request once",
    ),
    Breakage(
        "intake: an abort does not reach the engine",
        "            requester.requests -= 1\n            self._engine.abort(request_id)",
        "            requester.requests -= 1",
    ),
    Breakage(
        "intake: what a forgotten frontend had runs on",
        "            self._aborted.discard(request_id)\n            self._engine.abort(request_id)",
        "            self._aborted.discard(request_id)",
    ),
    Breakage(
        "link: tokens that wait are overwritten",
        "delta if held is None else joined(held, delta)",
        "delta",
    ),
    Breakage(
        "link: a HelloWanted is not heard",
        "if message.heard_session in (0, self._numbering.session):",
        "if False:",
    ),
    Breakage(
        "link: the clock of another host is taken for ours",
        "if self._skew.ahead_ms and isinstance",
        "if False and isinstance",
    ),
    # -- credit and bookings of a frontend
    Breakage(
        "credit: more is sent than was granted",
        "return len(self.bookings) < self.hello.credit_requests and",
        "return len(self.bookings) <= self.hello.credit_requests and",
    ),
    Breakage("credit: suspects meet", "and not (alone and self.suspects)", "and True"),
    Breakage(
        "credit: an end makes no room",
        "entry.queue.note_end(self._loop.time() - stream.sent_at)\n            entry.queue.room()",
        "entry.queue.note_end(self._loop.time() - stream.sent_at)",
        unseen="every beat tells of room too, a quarter of a second later at most",
    ),
    Breakage(
        "credit: a rank keeps the load of what ended",
        "self._own(-1, 0 if prefilled else -1, 0 if prefilled else -prefill_tokens, -kv_tokens)",
        "self._own(-1, 0 if prefilled else -1, 0 if prefilled else -prefill_tokens, 0)",
    ),
    # -- abort
    Breakage(
        "abort: one that found no room is forgotten",
        "worker.aborts_owed.add(request_id)",
        "pass",
    ),
    Breakage(
        "abort: a client that leaves leaves its request running",
        "        if worker is not None and not stream.ended:\n"
        "            self._release(worker, stream.request_id)\n"
        "            self._wire.send_abort(worker, stream.request_id)",
        "        if worker is not None and not stream.ended:\n"
        "            self._release(worker, stream.request_id)",
    ),
    # -- recovery
    Breakage(
        "recovery: what had come is generated again",
        "token_ids=request.token_ids + self.output,",
        "token_ids=request.token_ids,",
    ),
    Breakage(
        "recovery: a moved answer becomes longer",
        "max_new_tokens=sampling.max_new_tokens - done,",
        "max_new_tokens=sampling.max_new_tokens,",
    ),
    Breakage(
        "recovery: requests are moved without end",
        "if self.moves >= moves_max:",
        "if False:",
    ),
    Breakage(
        "recovery: poison is never proven",
        "if self.alone and strikes >=",
        "if False and strikes >=",
    ),
    Breakage(
        "recovery: the twin of poison is tried",
        "if self._until and _fingerprint(request) in self._until:",
        "if False:",
    ),
    Breakage(
        "recovery: who refused is asked again",
        "            trail.refused_by.add(lost.stream.lost_on)\n        else:",
        "            pass\n        else:",
        unseen="workers refuse while they drain, and nobody chooses them then",
    ),
    # -- admission
    Breakage(
        "admission: memory of who waited is kept",
        "self._memory.give(turn.size_bytes)",
        "pass",
    ),
    Breakage(
        "admission: the place of who left in the same turn is lost",
        "undo(turn.placed.result())",
        "pass",
        unseen="needs a client that leaves in the very turn of the loop in which it is placed",
    ),
    Breakage(
        "admission: room is told to nobody", "call_soon(self._pump)", "call_later(1e9, self._pump)"
    ),
    Breakage(
        "admission: bounds are not kept",
        "        if full:\n            raise self._over",
        "        if False:\n            raise self._over",
    ),
    # -- beat of a worker
    Breakage("beat: the engine is not looked at", "self._engine.check()\n", "pass\n"),
    Breakage(
        "beat: a sick engine is not told of",
        "unhealthy = self._kv, self._engine.reason[:MESSAGE_CHARS_MAX]",
        'unhealthy = self._kv, ""',
    ),
    Breakage(
        "beat: too slow",
        "            await asyncio.sleep(HEARTBEAT_INTERVAL_S)",
        "            await asyncio.sleep(8 * HEARTBEAT_INTERVAL_S)",
    ),
    Breakage(
        "beat: silence is judged after standing still",
        "stalled = loop.time() - due_at > HEARTBEAT_INTERVAL_S",
        "stalled = False",
        unseen="frontends give a worker up after 1.5 s, long before it gives them up after 4 s",
    ),
    Breakage(
        "beat: silent frontends are kept",
        "if not stalled:\n                    link.give_up_if_silent()",
        "if False:\n                    link.give_up_if_silent()",
    ),
    Breakage(
        "beat: only one frontend hears it",
        "        for link in self:\n            try:\n",
        "        for link in list(self)[:1]:\n            try:\n",
    ),
    Breakage(
        "beat: others' share is that of ourselves",
        "return 1.0 - requester.requests / len(self)",
        "return requester.requests / len(self)",
        unseen="it weighs where requests wait, not whether or how they end",
    ),
    # -- drain of a worker
    Breakage("drain: nobody is told", "self.links.send(Draining())", "pass"),
    Breakage("drain: Hello is said while leaving", "self._introduction.withdrawn = True", "pass"),
    Breakage(
        "drain: what runs is not waited for",
        "await self._departure.drained(lambda: len(self.intake) + self._media.owed)",
        "pass",
    ),
    Breakage(
        "drain: what comes is taken to the last",
        "await self._departure.grace_over()\n        self.intake.closed = True",
        "await self._departure.grace_over()",
        unseen="who has heard Draining sends nothing, and what crossed it is run to its end",
    ),
    Breakage(
        "drain: no haste with a dead engine",
        "if not departure.hasty:\n                    await self._drain()",
        "if True:\n                    await self._drain()",
        unseen="every wait of a Departure ends by itself when there is no time",
    ),
    Breakage(
        "drain: no Goodbye is said",
        "        self.links.send(\n            Goodbye(",
        "        (\n            Goodbye(",
    ),
    Breakage(
        "drain: every death is a stop",
        "planned=not departure.death)",
        "planned=True)",
    ),
    Breakage(
        "drain: every stop is a death",
        "planned=not departure.death)",
        "planned=False)",
    ),
    Breakage(
        "drain: the engine is left running",
        "            stopping = asyncio.ensure_future(self._engine.stop())",
        "            stopping = asyncio.ensure_future(asyncio.sleep(0))",
        unseen="the process ends right after, and the engine of a simulation with it",
    ),
    # -- drain of a frontend
    Breakage(
        "frontend's drain: what is open is not cut off",
        "            for request in self.open:\n                request.cut_off(",
        "            for request in ():\n                request.cut_off(",
    ),
    Breakage(
        "frontend's drain: the last answer is not noticed",
        "        if self.refusing:\n            self._changed.set()",
        "        pass",
    ),
    Breakage(
        "frontend's drain: it ends with requests open",
        "(self.refusing and not self._open)",
        "self.refusing",
    ),
    # -- redial of a worker
    Breakage(
        "redial: new frontends are not looked for",
        "await asyncio.sleep(RESOLVE_EVERY_S)",
        "await asyncio.sleep(1000 * RESOLVE_EVERY_S)",
    ),
    Breakage(
        "redial: one frontend is enough",
        "if address not in self._links:",
        "if not self._links:",
    ),
    Breakage(
        "redial: frontends that are gone are dialled for ever",
        "self._drop_unnamed()\n",
        "pass\n",
    ),
    Breakage(
        "redial: who answers is dropped when DNS fails",
        "not in self._addresses.known and link.frontend_heard_at is None",
        "not in self._addresses.known",
    ),
    Breakage(
        "redial: connections to one frontend are not told apart",
        "hello=partial(self._hello, address, next(self._ways)),",
        "hello=partial(self._hello, address, 1),",
    ),
    Breakage(
        "redial: a dropped connection stays open",
        "self._untold.pop(link, None)\n            link.close()",
        "self._untold.pop(link, None)",
    ),
)
