"""Defects of one line in what encodes pictures for other workers, planted by
tests/simulation/breakages.py in worlds that have pictures.
"""

from typing import Final

from tests.simulation.planted import Breakage

PICTURE_BREAKAGES: Final = (
    # -- an encoder
    Breakage(
        "pictures: the end of an order is not told",
        '        self._deliver([Delta(request_id, 0, b"", end)])\n        order.settle()',
        "        order.settle()",
    ),
    Breakage(
        "pictures: who fetches is not told that all is made",
        "        order.settle()\n        self._let_go(order)\n\n    def _fail",
        "        self._let_go(order)\n\n    def _fail",
    ),
    Breakage(
        "pictures: who fetched early is forgotten",
        "in self._early.pop(request.request_id, {}).items():",
        "in ():",
    ),
    Breakage(
        "pictures: who fetches early waits for ever",
        "fetch.request_id, early), EARLY_S_MAX)",
        "fetch.request_id, early), 1e6)",
    ),
    Breakage(
        "pictures: an abort does not end an order",
        '            self._fail(order, Finished("abort", 0, 0))',
        "            pass",
    ),
    Breakage(
        "pictures: pictures of what was aborted are encoded",
        "            self._jobs.leave(order)\n            self._fail(order, Finished(",
        "            self._fail(order, Finished(",
        unseen="work is wasted, and nothing else",
    ),
    Breakage(
        "pictures: what comes too late is encoded",
        "if order.request.deadline_unix_ms < now_ms:",
        "if False:",
        unseen="its frontend ends it by its own clock",
    ),
    Breakage(
        "pictures: a picture that several need is given to one",
        "            for order in job.orders:\n                if order.failed",
        "            for order in job.orders[:1]:\n                if order.failed",
    ),
    Breakage(
        "pictures: what cannot be read is not told",
        "                    self._fail(order, replace(each, param=param))",
        "                    pass",
    ),
    Breakage(
        "pictures: encoding ends with the first batch",
        "while batch := self._next_batch():",
        "if batch := self._next_batch():",
    ),
    Breakage(
        "pictures: a batch begins while another runs",
        "        elif self._running is None:\n            self._running",
        "        else:\n            self._running",
    ),
    Breakage(
        "pictures: canaries are not answered while pictures are encoded",
        "                self._end(order, made_us)\n        self._answer_canaries()\n",
        "                self._end(order, made_us)\n",
    ),
    Breakage(
        "pictures: a canary that was given up is kept",
        "            self._canaries.remove(request_id)\n",
        "            pass\n",
    ),
    Breakage(
        "pictures: what is complete is kept for ever",
        "        self._later(partial(self._forget, order))\n        self._deliver",
        "        self._deliver",
    ),
    Breakage(
        "pictures: what failed is kept for ever",
        "        order.fail()\n        self._later(partial(self._forget, order))",
        "        order.fail()",
    ),
    Breakage(
        "pictures: an order ends though it was aborted",
        "        if order.failed:\n            return  # aborted meanwhile\n",
        "",
        unseen="needs an abort in the turn of the loop in which all was found kept",
    ),
    Breakage(
        "pictures: one that leaves waits for what nobody fetches",
        "partial(self._note_fetched, order), OWED_S_MAX)",
        "partial(self._note_fetched, order), 1e6)",
    ),
    Breakage(
        "pictures: one leaves before what it made was fetched",
        "lambda: len(self.intake) + self._media.owed",
        "self.intake.__len__",
        unseen="who fetches in vain goes on with another",
    ),
    Breakage(
        "pictures: one that leaves does not notice that all was fetched",
        "            order.made.clear()\n            self._note_fetched(order)",
        "            order.made.clear()",
        unseen="it leaves some seconds later, within its time",
    ),
    Breakage(
        "pictures: its timers outlive it",
        "            timer.cancel()\n        running, self._running",
        "            pass\n        running, self._running",
        unseen="its process ends with it",
    ),
    # -- what it keeps, and the orders of requests
    Breakage(
        "pictures: a picture is taken for another one",
        "encoding = self._kept.get(digest)",
        "encoding = next(iter(self._kept.values()), None)",
    ),
    Breakage(
        "pictures: all that was made is kept",
        "while self.size_bytes > self._bytes_max:",
        "while False:",
    ),
    Breakage(
        "pictures: a picture is put in the place of another",
        "self._shelf.put(job.picture.digest, each)",
        "self._shelf.put(batch[0].picture.digest, each)",
    ),
    Breakage(
        "pictures: a picture that is being encoded is encoded again",
        "(job for job in self.batch if job.picture.digest == picture.digest), None",
        "iter(()), None",
        unseen="work is wasted, and nothing else",
    ),
    Breakage(
        "pictures: who needs a picture that somebody needs is forgotten",
        "            known.orders.append(order)",
        "            pass",
    ),
    Breakage(
        "pictures: what is encoded goes on to wait",
        "            del self._waiting[job.picture.digest]",
        "            pass",
    ),
    Breakage(
        "pictures: a picture is dropped though others need it",
        "                if not job.orders:\n                    del",
        "                if True:\n                    del",
    ),
    Breakage(
        "pictures: encodings come in another order",
        "return [self.made[picture.digest] for picture in self.request.media]",
        "return [*self.made.values()]",
    ),
    Breakage(
        "pictures: an order with one picture made is complete",
        "return all(picture.digest in self.made for",
        "return any(picture.digest in self.made for",
    ),
    Breakage(
        "pictures: data is given to who needs none",
        "        if grids_only:\n",
        "        if False:\n",
        unseen="it does no harm",
    ),
    Breakage(
        "pictures: grids are given to who needs data",
        "        if grids_only:\n            made",
        "        if True:\n            made",
        unseen="the simulated engine takes them",
    ),
    Breakage(
        "pictures: who fetches is told before its frontend",
        "        if not self.told or not self.fetchers:",
        "        if not self.complete or not self.fetchers:",
        unseen="nothing but the order differs",
    ),
    Breakage(
        "pictures: who fetches is not told that it was heard",
        "            _send(reply, Encodings(fetch.request_id, pending=True))",
        "            pass",
        unseen="pictures are made before it gives up",
    ),
    Breakage(
        "pictures: one who fetched counts for two",
        "len(self.given) >= self.request.fetches",
        "len(self.given) >= 1",
    ),
    # -- a worker that fetches
    Breakage(
        "pictures: an abort does not reach what waits for pictures",
        "        if self._drop(request_id) is None:",
        "        if True:",
    ),
    Breakage(
        "pictures: what was aborted as it waited does not end",
        '            self._end(request_id, Finished("abort", 0, 0))',
        "            pass",
    ),
    Breakage(
        "pictures: nobody is asked again",
        "        self.plane.ask(request.encoded_at, waiting.fetch)",
        "        pass",
        unseen="who fetched in vain goes on with another",
    ),
    Breakage(
        "pictures: one that does not answer is asked for ever",
        "if waiting.unanswered >= UNANSWERED_MAX:",
        "if False:",
    ),
    Breakage(
        "pictures: a request goes on without what was fetched",
        "self._engine.submit(replace(request, media=media))",
        "self._engine.submit(request)",
    ),
    Breakage(
        "pictures: a request that was fetched for goes on to wait",
        "        self._drop(answer.request_id)\n",
        "",
    ),
    Breakage(
        "pictures: what another could not encode is not told",
        '            self._fail(request.request_id, answer.failure or "another number',
        '            str("another number',
        unseen="needs a way that is parted for as long as what was made is kept",
    ),
    Breakage(
        "pictures: who fetched in vain does not go on",
        "Failed(EncoderLost.code, message",
        'Failed("engine_fault", message',
    ),
    # -- a frontend
    Breakage(
        "pictures: an encode leg is not booked",
        "        _book(encoder, told.stream, offer, tokens_of(leg))\n",
        "",
    ),
    Breakage(
        "pictures: an encode leg is not kept",
        "(encoder,) if encoder else (), unreached)",
        "(), unreached)",
    ),
    Breakage(
        "pictures: an encode leg is not kept beside a prefill leg",
        "(prefill_worker, encoder) if encoder else (prefill_worker,)",
        "(prefill_worker,)",
    ),
    Breakage(
        "pictures: what an encoder fails is not told",
        "        if stream.error is not None:\n            self._give_up(self._answer",
        "        if False:\n            self._give_up(self._answer",
    ),
    Breakage(
        "pictures: pictures are taken from who does not fetch",
        "if encoder is None or not worker.hello.fetches_encodings or not",
        "if encoder is None or not",
    ),
    Breakage(
        "pictures: pictures are encoded for who does not fetch",
        "    if not fetching:",
        "    if False:",
        unseen="work is wasted, and nothing else",
    ),
    Breakage(
        "pictures: one fetches where two do",
        "fetches=sum(worker.hello.fetches_encodings for worker in workers),",
        "fetches=1,",
    ),
    Breakage(
        "pictures: an encoder that refused is asked again",
        "if worker.worker_id not in avoid and worker.has_room(alone=alone)",
        "if worker.has_room(alone=alone)",
        unseen="it refuses while it drains, and nobody chooses it then",
    ),
    Breakage(
        "pictures: suspects meet where pictures are encoded",
        "if worker.worker_id not in avoid and worker.has_room(alone=alone)",
        "if worker.worker_id not in avoid and worker.has_room(alone=False)",
    ),
    Breakage(
        "pictures: more pictures are sent than were granted",
        "if worker.worker_id not in avoid and worker.has_room(alone=alone)",
        "if worker.worker_id not in avoid",
    ),
    Breakage(
        "pictures: an encoder that leaves gets work",
        "if worker.takes_work and worker.hello.stage == stage and",
        "if worker.hello.stage == stage and",
    ),
    Breakage(
        "pictures: an encoder that is gone gets work",
        "        self.encoders.remove(worker)\n",
        "",
    ),
    Breakage(
        "pictures: an encoder that cannot be reached is taken for reached",
        "return None if self._wire.send(encoder, leg) else encoder",
        "self._wire.send(encoder, leg)\n        return None",
    ),
    Breakage(
        "pictures: requests stay on an unhealthy encoder",
        "if unhealthy and worker.bookings and (entry is None or entry.ready):",
        "if unhealthy and worker.bookings and entry is not None and entry.ready:",
        unseen="few hang for longer than it takes to notice, while they encode",
    ),
    Breakage(
        "pictures: deadlines of pictures are by another clock",
        "isinstance(message, Generate | Embed | Encode | Tokenize)",
        "isinstance(message, Generate | Embed | Tokenize)",
    ),
    Breakage(
        "pictures: who got its pictures is taken for waiting",
        "self._helping.get(request_id, ()) if worker.hello.fetches_encodings else ()",
        "self._helping.get(request_id, ())",
        unseen="needs poison in two legs, a decode worker that sees, and a slow encoder",
    ),
    Breakage(
        "pictures: late: whoever waits for an encoder's word is innocent",
        "innocent=not isinstance(delta.end, Encoded)",
        "innocent=True",
        unseen="takes 1,240 worlds with pictures: seed 9886",
    ),
    Breakage(
        "pictures: room: who waits for an encoder is not let try",
        "        elif self._hoping:\n            self.let_hopes_try()\n        return stream",
        "        return stream",
        unseen="the next beat lets it",
    ),
    Breakage(
        "pictures: room: who waits for an encoder is forgotten",
        "            self._hoping[entry] = None\n            return None\n        sent",
        "            return None\n        sent",
        unseen="worlds have fewer requests than an encoder takes at once",
    ),
)
