"""Prompts are made by SGLang's own tokenizer and chat serving, for `--use-sglang-tokenizer`.

Import it after `workers.sglang.cpu.activate_if_cpu_host`: it imports SGLang.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from pydantic import ValidationError
from sglang.srt.entrypoints.openai.protocol import ChatCompletionRequest
from sglang.srt.entrypoints.openai.serving_chat import OpenAIServingChat

from protocol.errors import InvalidRequest
from protocol.instructions import InstructionPlaces, place_instructions
from protocol.text.pieces import PIECES_FILE
from protocol.tokens import pack_tokens, unpack_tokens
from workers.process.failure_note import one_line
from workers.sglang.pieces import piece_table


class SglangPrompts:
    """SglangPrompts is a PromptMaker that makes what SGLang's own server would make of the same
    bodies.

    Args:
        manager: SGLang's TokenizerManager.
        templates: SGLang's TemplateManager.
    """

    def __init__(self, manager: Any, templates: Any) -> None:
        self._tokenizer = manager.tokenizer
        self._multimodal = bool(manager.model_config.is_multimodal)
        self._serving = OpenAIServingChat(manager, templates)
        inline = bool(self._serving.supports_inline_system)
        self._places = InstructionPlaces(
            developer=self._knows_developers(), leading=inline, inline=inline
        )
        self._folder = TemporaryDirectory(prefix="kvmesh-")

    def pieces_file(self, vocab_size: int) -> Path:
        """Writes the PieceTable and returns its path; it lies there as long as this object
        lives.
        """
        path = Path(self._folder.name) / PIECES_FILE
        path.write_bytes(msgspec.msgpack.encode(piece_table(self._tokenizer, vocab_size)))
        return path

    def of_text(self, text: str, *, add_special_tokens: bool) -> bytes:
        """Returns the token ids of a text, packed u32; raises InvalidRequest if it holds a lone
        surrogate.
        """
        try:
            return pack_tokens(self._tokenizer.encode(text, add_special_tokens=add_special_tokens))
        # what fast and slow tokenizers say of half a surrogate pair
        except (UnicodeEncodeError, TypeError):
            raise InvalidRequest(
                "the text is not valid Unicode: it holds a lone surrogate"
            ) from None

    def of_chat(self, chat: bytes) -> tuple[bytes, list[str]]:
        """Returns the token ids of a chat request in JSON, packed u32, and the strings at which the
        template wants its answer to end.

        Raises:
            InvalidRequest: SGLang refuses the messages or its template does.
        """
        body = msgspec.json.decode(chat)
        body["messages"] = place_instructions(body["messages"], self._places)
        return self._of_body(body)

    def _knows_developers(self) -> bool:
        """Tells whether the template prints what a developer says."""
        word = "Halcyon"
        body = {
            "model": "",
            "messages": [
                {"role": "developer", "content": word},
                {"role": "user", "content": "Hi."},
            ],
        }
        try:
            tokens, _ = self._of_body(body)
            return word in self._tokenizer.decode(list(unpack_tokens(tokens)))
        except Exception:  # noqa: BLE001 - models of vectors have no template, and what a template raises is no reason not to start
            return False

    def _of_body(self, body: dict[str, Any]) -> tuple[bytes, list[str]]:
        try:
            begins_answer = body.pop("add_generation_prompt", None)
            request = ChatCompletionRequest.model_validate(body)
            if begins_answer is not None:
                # as /tokenize of its own server does
                request._format_add_generation_prompt = begins_answer
            refusal = self._serving._validate_request(request)
            if refusal is not None:
                raise InvalidRequest(refusal, param="messages")
            made = self._serving._process_messages(request, self._multimodal)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(step) for step in first["loc"]) or "messages"
            raise InvalidRequest(
                f"{where}: {first['msg']}", param=where.partition(".")[0]
            ) from error
        # as its handler takes them: SGLang's own checks, and Jinja's through them
        except (ValueError, TypeError) as error:
            raise InvalidRequest(one_line(error), param="messages") from error
        stops = [made.stop] if isinstance(made.stop, str) else list(made.stop or ())
        if made.prompt_ids and not isinstance(made.prompt_ids, str):
            return pack_tokens(made.prompt_ids), stops
        return self.of_text(made.prompt_ids or made.prompt, add_special_tokens=True), stops
