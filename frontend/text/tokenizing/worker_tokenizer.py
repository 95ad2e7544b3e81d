"""Tokenizes for a model whose workers make the tokens: prompts are asked for; what ids are worth is
known from a table.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from frontend.text.tokenizing.inspection import TokenizerUnusable
from protocol.replies import Tokenized
from protocol.requests import Tokenize
from protocol.text.detokenizer import Detokenizing
from protocol.text.pieces import PieceTable

Ask = Callable[[Tokenize], Awaitable[Tokenized]]
"""Puts a question to a worker of the model."""


class WorkerTokenizer:
    """A WorkerTokenizer, made by `load`, asks workers for tokens and makes text of them itself; it
    belongs to one event loop.

    Attributes:
        detokenizing: makes text of ids.
    """

    backend_name = "of the workers"

    def __init__(
        self, model: str, table: PieceTable, ask: Ask, new_query_id: Callable[[], str]
    ) -> None:
        self._model = model
        self.detokenizing = Detokenizing(table, _no_window)
        self._ask = ask
        self._new_query_id = new_query_id

    @classmethod
    def load(
        cls, model: str, pieces: Path, ask: Ask, new_query_id: Callable[[], str]
    ) -> "WorkerTokenizer":
        """Returns the tokenizer with the table in a PIECES_FILE.

        Raises:
            TokenizerUnusable: it is none.
        """
        try:
            table = msgspec.msgpack.decode(pieces.read_bytes(), type=PieceTable)
        except (OSError, msgspec.MsgspecError) as error:
            raise TokenizerUnusable(f"{pieces.name}: {error}") from None
        if table.kind != "byte_level":
            raise TokenizerUnusable(f"{pieces.name}: tables of kind {table.kind} do not travel")
        return cls(model, table, ask, new_query_id)

    async def encode_off_loop(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Returns the ids of a text, packed u32.

        Raises:
            MeshError: as frontend.mesh.queries.Queries.ask.
        """
        return (
            await self._ask(self._query(text=text, add_special_tokens=add_special_tokens))
        ).token_ids

    async def encode_chat(self, chat: bytes) -> Tokenized:
        """Returns the ids of a chat request in JSON, by the engine's own template, and the strings
        at which that ends.

        Raises:
            MeshError: as above.
        """
        return await self._ask(self._query(chat=chat))

    def token(self, token_id: int) -> str | None:
        """Returns a token's text: how the vocabulary writes it is not known here.

        None for an unknown id.
        """
        return self.detokenizing.token_bytes(token_id).decode(errors="replace") or None

    def _query(
        self, *, text: str = "", add_special_tokens: bool = True, chat: bytes = b""
    ) -> Tokenize:
        return Tokenize(
            self._new_query_id(),
            self._model,
            0,
            text,
            add_special_tokens=add_special_tokens,
            chat=chat,
        )


def _no_window(_ids: list[int], _skip: bool) -> str:
    raise AssertionError("a table decodes these ids")
