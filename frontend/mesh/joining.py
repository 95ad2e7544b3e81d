"""Takes a worker from its Hello to its first request: model files fetched, tokenizer and template
loaded, the worker welcomed or refused.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from frontend.fleet.encoders import encodes, fits
from frontend.fleet.registry import Registry
from frontend.fleet.worker import Worker
from frontend.mesh.wire import MeshWire
from frontend.models.files import CannotServe, FileFetch
from frontend.models.served import ServedModel
from frontend.text.tokenizing.worker_tokenizer import Ask
from protocol.membership import CardFile, Hello
from protocol.replies import FileChunk, Tokenized
from protocol.requests import FetchFile, Refused, Tokenize, Welcome

log = logging.getLogger(__name__)

PrepareModel = Callable[[Hello, Callable[[CardFile], FileFetch], Ask], Awaitable[ServedModel]]
"""Makes a model servable from a worker's Hello; gets a way to fetch files from that worker, and one
to ask the workers of that model for tokens.
"""

FETCHES_MAX: Final = 64
"""Bounds the files under way at once, over all joining workers."""


class Joining:
    """A Joining runs one task per worker that joins.

    Args:
        ask: puts a question to a worker whose card has the digest that comes first.
        welcome: what a worker is told that serves from now on.
        on_joined: called with each worker that serves from now on.
    """

    def __init__(
        self,
        registry: Registry,
        wire: MeshWire,
        prepare: PrepareModel,
        ask: Callable[[str, Tokenize], Awaitable[Tokenized]],
        *,
        welcome: Welcome,
        on_joined: Callable[[Worker], None],
    ) -> None:
        self._registry = registry
        self._wire = wire
        self._prepare = prepare
        self._ask = ask
        self._welcome = welcome
        self._on_joined = on_joined
        self._tasks: dict[bytes, asyncio.Task[None]] = {}
        self._fetches: dict[tuple[bytes, str], FileFetch] = {}

    def begin(self, worker: Worker) -> None:
        """Begins to take a worker in."""
        task = asyncio.get_running_loop().create_task(self._join(worker))
        self._tasks[worker.identity] = task
        # not behind a `finally` of its own: one that is cancelled before it began has none
        task.add_done_callback(partial(self._forget, worker.identity))

    def give_up(self, worker: Worker) -> None:
        """Gives up a worker that left before it was taken in."""
        task = self._tasks.get(worker.identity)
        if task is not None:
            task.cancel()

    def take_chunk(self, identity: bytes, chunk: FileChunk) -> None:
        """Takes a piece of a file; one that was not asked for is ignored."""
        key = identity, chunk.sha256
        fetch = self._fetches.get(key)
        if fetch is not None:
            fetch.add(chunk)
            if fetch.over:  # its worker may wait long for the tokenizers of other models
                del self._fetches[key]

    async def close(self) -> None:
        """Waits for what `give_up` has ended."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _join(self, worker: Worker) -> None:
        try:
            if encodes(worker.hello):  # of whose model nothing need be known here
                self._registry.serve_pictures(worker)
            else:
                served = await self._prepare(
                    worker.hello, partial(self._fetch, worker), partial(self._ask, worker.digest)
                )
                reason = self._registry.conflict(worker)
                if reason is not None:
                    self._refuse(worker, reason)
                    return
                self._registry.serve(worker, served)
            self._on_joined(worker)
            self._wire.send(worker, self._welcome)
            log.info(
                "worker %s serves %s (%s)",
                worker.worker_id,
                worker.hello.card.name,
                worker.hello.engine,
            )
            self._warn_of_other_files(worker.hello.card.name)
        except CannotServe as error:
            self._refuse(worker, str(error))
        except Exception:
            log.exception("cannot take worker %s", worker.worker_id)
            self._refuse(worker, "the frontend had an error while preparing the model")

    def _forget(self, identity: bytes, task: asyncio.Task[None]) -> None:
        if self._tasks.get(identity) is task:
            del self._tasks[identity]
            for key in [key for key in self._fetches if key[0] == identity]:
                del self._fetches[key]

    def _warn_of_other_files(self, model: str) -> None:
        """Warns of workers that were meant to encode for a model and never will, each time that one
        of the model joins.
        """
        serving = [entry for entry in self._registry.generations(model) if entry.workers]
        for worker in self._registry.encoders.of_name(model):
            if serving and not any(fits(worker, entry.served.card.media) for entry in serving):
                log.warning(
                    "worker %s encodes no pictures for %s: the files of its model are others",
                    worker.worker_id,
                    model,
                )

    def _fetch(self, worker: Worker, file: CardFile) -> FileFetch:
        if len(self._fetches) >= FETCHES_MAX:
            raise CannotServe("too many model files are being fetched at once")
        fetch = self._fetches[worker.identity, file.sha256] = FileFetch(file)
        self._wire.send(worker, FetchFile(file.sha256))
        return fetch

    def _refuse(self, worker: Worker, reason: str) -> None:
        log.warning("refused worker %s: %s", worker.worker_id, reason)
        self._wire.tell(worker.identity, Refused(reason))
        self._registry.leave(worker)
