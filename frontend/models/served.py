"""Serves a model's text: prompts are rendered and tokenized, answers made into text."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any

from frontend.models.image_counts import ImageCounts
from frontend.text.output.choice_text import ChoiceText, OutputRules
from frontend.text.templates.model_files import ModelFiles
from frontend.text.templates.template import ChatTemplate
from frontend.text.tokenizing.no_tokenizer import NoTokenizer
from frontend.text.tokenizing.pairs import PairTokenizer
from frontend.text.tokenizing.tokenizer import Tokenizer
from frontend.text.tokenizing.worker_tokenizer import WorkerTokenizer
from protocol.errors import InvalidRequest
from protocol.membership import ModelCard
from protocol.text.detokenizer import Detokenizer


class ServedModel:
    """A ServedModel renders, tokenizes and detokenizes for one model: its card, its template, its
    tokenizer. Made from files, shared by every worker of the model.
    """

    def __init__(
        self,
        card: ModelCard,
        tokenizer: Tokenizer | WorkerTokenizer | NoTokenizer,
        templates: Mapping[str, ChatTemplate],
        pairs: PairTokenizer | None = None,
        files: ModelFiles | None = None,
        *,
        image_counts: ImageCounts | None = None,
    ) -> None:
        self.card = card
        self.files = files
        """Holds what the tokenizer's files say; None where workers tokenize, since they keep
        them.
        """
        self.pairs = pairs
        """Tokenizes pairs of texts; None unless the model is a cross-encoder."""
        self.tokenized_by_workers = tokenizer if isinstance(tokenizer, WorkerTokenizer) else None
        """Asks the workers for tokens; None if prompts are rendered and tokenized in the
        frontend.
        """
        self.image_counts = image_counts
        """Counts the tokens of pictures; None if nobody can tell them by their sizes."""
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
        """Returns the chat template's text; options as `ChatTemplate.render`.

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

    def encode_off_loop(self, text: str, *, add_special_tokens: bool) -> Awaitable[bytes]:
        """Returns token ids as packed u32; long text is encoded in a thread."""
        return self._tokenizer.encode_off_loop(text, add_special_tokens=add_special_tokens)

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool = True) -> str:
        """Returns the text of a prompt's token ids."""
        return self._tokenizer.detokenizing.decode(
            token_ids, skip_special_tokens=skip_special_tokens
        )

    def vocabulary_entry(self, token_id: int) -> str:
        """Returns a token as the vocabulary writes it ("Ġthe", "▁the"); empty for an unknown id."""
        return self._tokenizer.token(token_id) or ""

    def token_bytes(self, token_id: int) -> bytes:
        """Returns the bytes of one token, special ones included; none for an unknown id."""
        return self._tokenizer.detokenizing.token_bytes(token_id)

    def new_detokenizer(self, *, skip_special_tokens: bool) -> Detokenizer:
        """Returns a detokenizer for the tokens of one text, as they come."""
        return self._tokenizer.detokenizing.new(skip_special_tokens=skip_special_tokens)

    def choice_text(self, rules: OutputRules) -> ChoiceText:
        """Returns what turns one choice's tokens into text."""
        return ChoiceText(
            self.new_detokenizer(skip_special_tokens=rules.skip_special_tokens), rules
        )
