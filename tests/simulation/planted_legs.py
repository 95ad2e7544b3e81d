"""Defects of one line in what runs a request in two legs, planted by
tests/simulation/breakages.py in worlds that have legs.
"""

from typing import Final

from tests.simulation.planted import Breakage

LEG_BREAKAGES: Final = (
    # -- a frontend pairs them
    Breakage(
        "legs: the failure of a prefill leg is not told to the decode leg",
        "if prefill.error is not None:",
        "if False:",
    ),
    Breakage(
        "legs: a room is used again",
        "room = chance - chance % dp_size + dp_rank",
        "room = dp_size + dp_rank",
    ),
    Breakage(
        "legs: each waits in a room of its own",
        "            request,\n            bootstrap=bootstrap,\n",
        "            request,\n            bootstrap=replace(bootstrap, room=room + 1),\n",
    ),
    Breakage(
        "legs: the prefill leg generates the answer too",
        "        max_new_tokens=1,\n        min_new_tokens=min(",
        "        min_new_tokens=min(",
    ),
    Breakage(
        "legs: an abort reaches the decode leg only",
        "                    self._wire.send_abort(helper, request_id)\n            ends = True",
        "                    pass\n            ends = True",
    ),
    Breakage(
        "legs: a release forgets the prefill leg",
        "for helper in self._helping.pop(request_id, ()) if self._helping else ():",
        "for helper in ():",
    ),
    Breakage(
        "legs: the end of a prefill leg is not noted",
        "            self._helping.pop(request_id, None)\n        stream = worker",
        "            pass\n        stream = worker",
    ),
    Breakage(
        "legs: a request of which one leg was sent is taken for sent",
        "helpers, deaf if sent else worker)",
        "helpers, deaf)",
    ),
    Breakage(
        "legs: one request ends twice",
        "if stream is not None and ends:",
        "if stream is not None:",
    ),
    Breakage(
        "legs: the prefill leg is not booked",
        "_book(prefill_worker, partner.prefill, offer, uncached_tokens)",
        "pass",
    ),
    Breakage(
        "legs: the decode leg is not booked",
        "_book(worker, stream, offer, 0, first.prompt_tokens)",
        "pass",
    ),
    # -- who may run them
    Breakage(
        "legs: half a pair is taken for candidates",
        "return bool(self.prefill and self.decode)",
        "return bool(self.prefill or self.decode)",
        unseen="needs a request that all decode workers but no prefill worker have refused",
    ),
    Breakage(
        "legs: half a fleet is ready",
        "return bool(self._pools[PREFILL] and self._pools[DECODE])",
        "return bool(self._pools[PREFILL] or self._pools[DECODE])",
        unseen="who is offered a request finds no pair all the same; readiness is for people",
    ),
    Breakage(
        "legs: more is sent than was granted",
        "if not worker.has_room(alone=offer.alone)",
        "if False",
    ),
    Breakage(
        "legs: decode legs go to whole workers",
        "for stage in (WHOLE, PREFILL, DECODE))",
        "for stage in (WHOLE, PREFILL, WHOLE))",
    ),
    Breakage(
        "legs: one waits for who is of no use",
        "if hope.stage in (entry.lacks or RUNNING)]",
        "]",
        unseen="needs two of one stage, one of them silent, and none of the other",
    ),
    Breakage(
        "legs: they wait on the decode engine",
        "sheds=entry.queue.sheds or stage == DECODE,",
        "sheds=entry.queue.sheds,",
    ),
    Breakage(
        "legs: they wait on the prefill engine",
        "may_wait=len(ranks) > 1 or stage != WHOLE,",
        "may_wait=len(ranks) > 1,",
        unseen="prompts of this size are computed within milliseconds",
    ),
    # -- an engine that computes prompts
    Breakage(
        "legs: a prefill engine does not hear Leave",
        "self._abort(self._ids[message.room])",
        "pass",
        unseen="whoever ends the decode leg ends the other: their frontend, or who forgets it",
    ),
    Breakage(
        "legs: a prompt given up in its last step is sent",
        "if request_id in self._rooms:  # also",
        "if waiting or sending:  # also",
    ),
    Breakage(
        "legs: a lost cache is told to nobody",
        'self._deliver(Delta(request_id, 0, b"", NO_CACHE))',
        "pass",
    ),
    Breakage(
        "legs: the peer is not told that nothing comes",
        "self._listener.say(peer, Dropped(room))",
        "pass",
        unseen="their frontend is told by the prefill leg, and aborts the other",
    ),
    Breakage(
        "legs: rooms are remembered for ever",
        "self._listener.say(self._met.pop(room), HandedOver",
        "self._listener.say(self._met[room], HandedOver",
    ),
    Breakage(
        "legs: a prompt waits for ever to be met",
        "timer = self._loop.call_later(self._wait_s, self._fail, request_id)",
        "timer = self._loop.call_later(1e6, self._fail, request_id)",
        unseen="the decode leg's end, or that of their frontend, ends it before",
    ),
    # -- an engine that generates
    Breakage(
        "legs: a decode engine does not say Leave",
        "self._callers.say(_server_of(request), Leave(_room_of(request)))",
        "pass",
    ),
    Breakage(
        "legs: a decode engine does not hear that nothing comes",
        "            self._end(message.room)",
        "            pass",
        unseen="their frontend is told by the prefill leg, and aborts the other",
    ),
    Breakage(
        "legs: a cache is awaited for ever",
        "timer = self._loop.call_later(self._wait_s, self._end, room)",
        "timer = self._loop.call_later(1e6, self._end, room)",
    ),
    Breakage(
        "legs: what ended is awaited",
        "                if delta.end is not None:\n                    self._forget(",
        "                if False:\n                    self._forget(",
    ),
    Breakage(
        "legs: the pages of what is awaited are kept",
        "            del self._reserved[sequence.request_id]\n        else:\n"
        "            self._running.remove(sequence)\n        self._free(sequence)",
        "            del self._reserved[sequence.request_id]\n            return\n        else:\n"
        "            self._running.remove(sequence)\n        self._free(sequence)",
    ),
    Breakage(
        "legs: the place of what was awaited is kept",
        "            del self._reserved[sequence.request_id]\n        else:",
        "            pass\n        else:",
    ),
    Breakage(
        "legs: what was handed over is still awaited",
        "sequence.cached_tokens, sequence.awaits_cache = cached_tokens, False",
        "sequence.cached_tokens, sequence.awaits_cache = cached_tokens, True",
    ),
)
