"""Turns the files that a worker names into a model that can be served."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from weakref import WeakValueDictionary

from frontend.models.files import CannotServe, FileCache, FileFetch, collect_files
from frontend.models.image_counts import ImageCounts
from frontend.models.served import ServedModel
from frontend.models.services import use_of
from frontend.text.templates.model_files import read_model_files
from frontend.text.templates.template import ChatTemplate
from frontend.text.tokenizing.inspection import TokenizerUnusable
from frontend.text.tokenizing.no_tokenizer import NoTokenizer
from frontend.text.tokenizing.pairs import PairTokenizer
from frontend.text.tokenizing.segment_cache import SegmentCache
from frontend.text.tokenizing.tokenizer import Backend, Tokenizer
from frontend.text.tokenizing.worker_tokenizer import Ask, WorkerTokenizer
from protocol.membership import CardFile, Hello, ModelCard
from protocol.text.pieces import PIECES_FILE

log = logging.getLogger(__name__)


class ModelLoader:
    """A ModelLoader makes models servable and remembers those used last, by digest."""

    MODELS_KEPT_MAX = 32
    """Bounds the models remembered: a tokenizer with 150k tokens takes some 110 MiB; a frontend
    that serves more models than this loads some again.
    """

    def __init__(
        self,
        cache: FileCache,
        *,
        tokenizer_backend: Backend,
        segments: SegmentCache,
        new_query_id: Callable[[], str],
    ) -> None:
        self._cache = cache
        self._segments = segments
        self._new_query_id = new_query_id
        self._tokenizer_backend: Backend = tokenizer_backend
        self._models: dict[str, ServedModel] = {}
        self._of_one_model: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loading = asyncio.Lock()
        """Lets one tokenizer be loaded at a time: it takes seconds of a core and much memory on the
        way.
        """

    async def prepare(
        self, hello: Hello, request: Callable[[CardFile], FileFetch], ask: Ask
    ) -> ServedModel:
        """Returns the model of a worker that said Hello; its files come from the cache or from that
        worker.

        Workers of one model that join together wait for the first of them; a slow worker of another
        model keeps nobody.

        Args:
            ask: puts a question to any worker of that model.
        Raises:
            CannotServe: a file could not be had or used.
        """
        digest = hello.card.digest
        lock = self._of_one_model.setdefault(digest, asyncio.Lock())
        async with lock:
            served = self._models.pop(digest, None)
            if served is None and use_of(hello.service).makes_media:
                return ServedModel(hello.card, NoTokenizer(), {})
            if served is None:
                paths = await collect_files(hello.card.files, self._cache, request)
                async with self._loading:
                    served = await asyncio.to_thread(self._load, hello.card, paths, ask)
            self._models[digest] = served  # the latest used last, so the oldest go first
            while len(self._models) > self.MODELS_KEPT_MAX:
                del self._models[next(iter(self._models))]
            return served

    def _load(self, card: ModelCard, paths: Mapping[str, Path], ask: Ask) -> ServedModel:
        if card.tokenizes:
            return self._load_tokenized_by_workers(card, paths, ask)
        if "tokenizer.json" not in paths:
            raise CannotServe(f"the worker of {card.name!r} brings no tokenizer.json")
        try:
            files = read_model_files(paths, chat_template_file=card.chat_template_file)
            marks_in = " ".join([*files.chat_templates.values(), *files.special_tokens.values()])
            tokenizer = Tokenizer.load(
                paths["tokenizer.json"],
                self._tokenizer_backend,
                cache=self._segments,
                templates=marks_in,
            )
            pairs = PairTokenizer.load(paths["tokenizer.json"]) if card.cross_encoder else None
        except (TokenizerUnusable, ValueError) as error:
            raise CannotServe(f"the files of {card.name!r} cannot be served: {error}") from error
        templates: dict[str, ChatTemplate] = {}
        for name, source in files.chat_templates.items():
            try:
                templates[name] = template = ChatTemplate(source, files.special_tokens)
                if template.habits.unprinted:
                    kinds = ", ".join(sorted(template.habits.unprinted))
                    log.warning(
                        (
                            "%s: its chat template leaves out %s: requests with such messages "
                            "will be refused"
                        ),
                        card.name,
                        kinds,
                    )
            except ValueError as error:
                log.warning("%s: chat requests will be refused: %s", card.name, error)
        log.info(
            "loaded %s: tokenizer %s, %d chat templates",
            card.name,
            tokenizer.backend_name,
            len(templates),
        )
        return ServedModel(
            card, tokenizer, templates, pairs, files, image_counts=self._image_counts(card, ask)
        )

    def _image_counts(self, card: ModelCard, ask: Ask) -> ImageCounts | None:
        if card.media is None or not card.media.counts_images:
            return None
        return ImageCounts(card.name, ask, self._new_query_id)

    def _load_tokenized_by_workers(
        self, card: ModelCard, paths: Mapping[str, Path], ask: Ask
    ) -> ServedModel:
        if PIECES_FILE not in paths:
            raise CannotServe(f"the worker of {card.name!r} brings no {PIECES_FILE}")
        try:
            tokenizer = WorkerTokenizer.load(card.name, paths[PIECES_FILE], ask, self._new_query_id)
        except TokenizerUnusable as error:
            raise CannotServe(f"the files of {card.name!r} cannot be served: {error}") from error
        log.info("loaded %s: its workers tokenize", card.name)
        return ServedModel(card, tokenizer, {}, image_counts=self._image_counts(card, ask))
