"""Prompts made by SGLang's own tokenizer and chat serving, for `--use-sglang-tokenizer`.

Import it after `workers.sglang_cpu.activate_if_cpu_host`: it imports SGLang.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
from pydantic import ValidationError
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat

from protocol.errors import InvalidRequest
from protocol.pieces import PIECES_FILE, SPACE_MARK, PieceTable, byte_level_bytes, fallback_byte, table_of
from protocol.tokens import pack_tokens
from workers.sglang_arguments import one_line

_SAMPLES: Final = (
    "The quick brown fox, 12345 times: don't!\n\n\tdef f(x): return {'a': x}  # ok",
    "Größe café — 中文 日本語 русский العربية हिन्दी 🎉👩‍👩‍👧",
)
"""Texts whose tokens tell which family of tokenizers a table is for."""


class SglangPrompts:
    """A PromptMaker: what SGLang's own server would make of the same bodies.

    Args:
        manager: SGLang's TokenizerManager.
        templates: SGLang's TemplateManager.
    """

    def __init__(self, manager: Any, templates: Any) -> None:
        self._tokenizer = manager.tokenizer
        self._multimodal = bool(manager.model_config.is_multimodal)
        self._serving = OpenAIServingChat(manager, templates)
        self._folder = TemporaryDirectory(prefix="kvmesh-")

    def pieces_file(self, vocab_size: int) -> Path:
        """Writes the PieceTable; it lies there as long as this object lives."""
        path = Path(self._folder.name) / PIECES_FILE
        path.write_bytes(msgspec.msgpack.encode(piece_table(self._tokenizer, vocab_size)))
        return path

    def of_text(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Token ids of a text, packed u32."""
        try:
            return pack_tokens(self._tokenizer.encode(text, add_special_tokens=add_special_tokens))
        except (UnicodeEncodeError, TypeError):  # what fast and slow tokenizers say of half a surrogate pair
            raise InvalidRequest("the text is not valid Unicode: it holds a lone surrogate") from None

    def of_chat(self, chat: bytes) -> tuple[bytes, list[str]]:
        """Token ids of a chat request in JSON, packed u32, and strings at which the template wants its answer to end.

        Raises:
            InvalidRequest: SGLang refuses the messages or its template does.
        """
        try:
            body = msgspec.json.decode(chat)
            begins_answer = body.pop("add_generation_prompt", None)
            request = ChatCompletionRequest.model_validate(body)
            if begins_answer is not None:
                request._format_add_generation_prompt = begins_answer  # as /tokenize of its own server does
            refusal = self._serving._validate_request(request)
            if refusal is not None:
                raise InvalidRequest(refusal, param="messages")
            made = self._serving._process_messages(request, self._multimodal)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "messages"
            raise InvalidRequest(f"{where}: {first['msg']}", param=where.partition(".")[0]) from error
        except (ValueError, TypeError) as error:  # as its handler takes them: SGLang's own checks, and Jinja's through them
            raise InvalidRequest(one_line(error), param="messages") from error
        stops = [made.stop] if isinstance(made.stop, str) else list(made.stop or ())
        if made.prompt_ids and not isinstance(made.prompt_ids, str):
            return pack_tokens(made.prompt_ids), stops
        return self.of_text(made.prompt_ids or made.prompt, add_special_tokens=True), stops


def piece_table(tokenizer: Any, vocab_size: int) -> PieceTable:
    """What each id is worth in bytes, as far as it can be told: by the family of the tokenizer where it is a known one, else by what
    it decodes each id to by itself, where parts of characters are U+FFFD."""
    ids = range(max(vocab_size, len(tokenizer)))
    special_ids = sorted({int(token_id) for token_id in tokenizer.all_special_ids})
    tokens = [_token(tokenizer, token_id) for token_id in ids]
    byte_level = table_of("byte_level", [token if isinstance(token, bytes) else byte_level_bytes(token) for token in tokens], special_ids)
    if _reads_as(tokenizer, byte_level):
        return byte_level
    words = [token.decode(errors="replace") if isinstance(token, bytes) else token for token in tokens]
    byte_ids = {token_id: byte for token_id, word in enumerate(words) if (byte := fallback_byte(word)) is not None}
    pieces = [word.replace(SPACE_MARK, " ").encode() for word in words]
    for token_id, byte in byte_ids.items():
        pieces[token_id] = bytes([byte])
    joined = table_of("byte_level", pieces, special_ids)
    if _reads_as(tokenizer, joined):
        return joined
    return table_of("byte_level", [_decoded(tokenizer, token_id).encode() for token_id in ids], special_ids)


def _token(tokenizer: Any, token_id: int) -> str | bytes:
    try:
        token = tokenizer.convert_ids_to_tokens(token_id)
    except Exception:  # noqa: BLE001 - rows of the model that the tokenizer does not have; its error is the library's own
        return ""
    return token if isinstance(token, str | bytes) else ""


def _reads_as(tokenizer: Any, table: PieceTable) -> bool:
    """Do the samples come back? The first space may be one that the tokenizer put there."""
    pieces = list(table.split())
    for sample in _SAMPLES:
        ids = tokenizer.encode(sample, add_special_tokens=False)
        read = b"".join(pieces[token_id] for token_id in ids).decode(errors="replace")
        if read.removeprefix(" ") != tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False).removeprefix(" "):
            return False
    return True


def _decoded(tokenizer: Any, token_id: int) -> str:
    try:
        return tokenizer.decode([token_id], skip_special_tokens=False)
    except Exception:  # noqa: BLE001 - as above
        return ""
