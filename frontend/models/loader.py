"""A model as the frontend serves it: its card, its template, its tokenizer.

Made from files, shared by every worker of the model.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

from frontend.models.files import CannotServe, FileCache, FileFetch, collect_files
from frontend.text.output.choice_text import ChoiceText, OutputRules
from frontend.text.templates.model_files import ModelFiles, read_model_files
from frontend.text.templates.template import ChatTemplate
from frontend.text.tokenizing.inspection import TokenizerUnusable
from frontend.text.tokenizing.pairs import PairTokenizer
from frontend.text.tokenizing.segment_cache import SegmentCache
from frontend.text.tokenizing.tokenizer import Backend, Tokenizer
from frontend.text.tokenizing.worker_tokenizer import WorkerTokenizer
from protocol.errors import InvalidRequest
from protocol.membership import CardFile, Hello, ModelCard
from protocol.replies import Tokenized
from protocol.requests import Tokenize
from protocol.text.detokenizer import Detokenizer
from protocol.text.pieces import PIECES_FILE

log = logging.getLogger(__name__)


class ServedModel:
    """Text in, tokens out and back, for one model."""

    def __init__(
        self,
        card: ModelCard,
        tokenizer: Tokenizer | WorkerTokenizer,
        templates: Mapping[str, ChatTemplate],
        pairs: PairTokenizer | None = None,
        files: ModelFiles | None = None,
    ) -> None:
        self.card = card
        self.files = files
        """What the tokenizer's files say; None where workers tokenize, since they keep them."""
        self.pairs = pairs
        """Of a cross-encoder."""
        self.tokenized_by_workers = tokenizer if isinstance(tokenizer, WorkerTokenizer) else None
        """What asks them; None if prompts are rendered and tokenized here."""
        self._tokenizer = tokenizer
        self._template = templates.get("default")
        self._tools_template = templates.get("tool_use", self._template)

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        /,
        *,
        tools: Sequence[Mapping[str, Any]] | None,
        **options: Any,
    ) -> str:
        """The chat template's text; options as `ChatTemplate.render`.

        Raises:
            InvalidRequest: the model has no template, or the template refuses these messages.
        """
        template = self._tools_template if tools else self._template
        if template is None:
            raise InvalidRequest(
                f"The model {self.card.name!r} has no chat template; use /v1/completions.",
                param="model",
            )
        return template.render(messages, tools=tools, **options)

    async def encode_off_loop(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Token ids as packed u32; long text is encoded in a thread."""
        return await self._tokenizer.encode_off_loop(text, add_special_tokens=add_special_tokens)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """The text of a prompt."""
        return self._tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens)

    def vocabulary_entry(self, token_id: int) -> str:
        """A token as the vocabulary writes it ("Ġthe", "▁the"); empty for an unknown id."""
        return self._tokenizer.token(token_id) or ""

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of one token, special ones included; none for an unknown id."""
        return self._tokenizer.token_bytes(token_id)

    def new_detokenizer(self, *, skip_special_tokens: bool) -> Detokenizer:
        """For the tokens of one text, as they come."""
        return self._tokenizer.new_detokenizer(skip_special_tokens=skip_special_tokens)

    def choice_text(self, rules: OutputRules) -> ChoiceText:
        """What turns one choice's tokens into text."""
        return ChoiceText(
            self.new_detokenizer(skip_special_tokens=rules.skip_special_tokens), rules
        )


class ModelLoader:
    """Makes models servable and remembers the last few by digest.

    Args:
        ask: puts a question to a worker whose card has the digest that comes first.
    """

    MODELS_KEPT_MAX = 32
    """A tokenizer with 150k tokens takes about 100 MB; a frontend that serves more models than this
    loads some again.
    """

    def __init__(
        self,
        cache: FileCache,
        *,
        tokenizer_backend: Backend,
        segments: SegmentCache,
        ask: Callable[[str, Tokenize], Awaitable[Tokenized]],
        new_query_id: Callable[[], str],
    ) -> None:
        self._cache = cache
        self._segments = segments
        self._ask = ask
        self._new_query_id = new_query_id
        self._tokenizer_backend: Backend = tokenizer_backend
        self._models: dict[str, ServedModel] = {}
        self._of_one_model: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loading = asyncio.Lock()
        """One tokenizer is loaded at a time: it takes seconds of a core and much memory on the
        way.
        """

    async def prepare(self, hello: Hello, request: Callable[[CardFile], FileFetch]) -> ServedModel:
        """The model of a worker that said Hello; its files come from the cache or from that worker.

        Workers of one model that join together wait for the first of them; a slow worker of another
        model keeps nobody.

        Raises:
            CannotServe: a file could not be had or used.
        """
        digest = hello.card.digest
        lock = self._of_one_model.setdefault(digest, asyncio.Lock())
        async with lock:
            served = self._models.get(digest)
            if served is None:
                paths = await collect_files(hello.card.files, self._cache, request)
                async with self._loading:
                    served = await asyncio.to_thread(self._load, hello.card, paths)
                self._models[digest] = served
                while len(self._models) > self.MODELS_KEPT_MAX:
                    del self._models[next(iter(self._models))]
            return served

    def _load(self, card: ModelCard, paths: Mapping[str, Path]) -> ServedModel:
        if card.tokenizes:
            return self._load_tokenized_by_workers(card, paths)
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
        return ServedModel(card, tokenizer, templates, pairs, files)

    def _load_tokenized_by_workers(self, card: ModelCard, paths: Mapping[str, Path]) -> ServedModel:
        if PIECES_FILE not in paths:
            raise CannotServe(f"the worker of {card.name!r} brings no {PIECES_FILE}")
        try:
            tokenizer = WorkerTokenizer.load(
                card.name, paths[PIECES_FILE], partial(self._ask, card.digest), self._new_query_id
            )
        except TokenizerUnusable as error:
            raise CannotServe(f"the files of {card.name!r} cannot be served: {error}") from error
        log.info("loaded %s: its workers tokenize", card.name)
        return ServedModel(card, tokenizer, {})
