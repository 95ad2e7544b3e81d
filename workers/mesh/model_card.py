"""A model card is made from a Hugging Face model directory: it names what a frontend needs to serve
the model, by content hash.
"""

import json
import time
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import Any, cast

from protocol.limits import FILE_BYTES_MAX, NAME_CHARS_MAX
from protocol.membership import CardFile, ModelCard, SamplingDefaults
from protocol.process.start_error import StartError
from protocol.text.pieces import PIECES_FILE

CARD_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "config.json",
)
"""A frontend reads these files of a model directory; those that exist are advertised."""


def build_card(
    model_dir: Path,
    *,
    name: str,
    aliases: Sequence[str] = (),
    context_length: int | None = None,
    vocab_size: int | None = None,
    eos_token_ids: Sequence[int] | None = None,
    chat_template: Path | None = None,
    pieces: Path | None = None,
) -> tuple[ModelCard, dict[str, Path]]:
    """Describes the model in `model_dir`; what is not given is read from its config.json and
    generation_config.json.

    Args:
        pieces: a PIECES_FILE: the worker tokenizes, and the card names this file alone.
    Returns:
        The card, and where each of its files lies, by SHA-256.
    Raises:
        StartError: no tokenizer.json, or a file that is missing, too large or no JSON, or a name
        that is too long.
    """
    for each in (name, *aliases):
        if len(each) > NAME_CHARS_MAX:
            raise StartError(
                f"a model's name has at most {NAME_CHARS_MAX} characters, and {each[:32]!r}… has "
                f"{len(each)}"
            )
    if chat_template is not None and not chat_template.is_file():
        raise StartError(f"the chat template {chat_template} is no file")
    paths = {file: model_dir / file for file in CARD_FILES if (model_dir / file).is_file()}
    if "tokenizer.json" not in paths and pieces is None:
        raise StartError(
            f"{model_dir} has no tokenizer.json: the frontend needs a fast Hugging Face "
            "tokenizer, or the worker --use-sglang-tokenizer"
        )
    if chat_template is not None:
        paths[chat_template.name] = chat_template
    config, generation = _read(paths, "config.json"), _read(paths, "generation_config.json")
    text_config = cast("dict[str, Any]", config.get("text_config") or config)
    if pieces is not None:
        paths = {PIECES_FILE: pieces}
    files = [_card_file(file, path) for file, path in paths.items()]
    card = ModelCard(
        name=name,
        aliases=list(aliases),
        context_length=context_length or int(text_config.get("max_position_embeddings") or 2048),
        vocab_size=vocab_size or int(text_config.get("vocab_size") or 0),
        eos_token_ids=list(eos_token_ids)
        if eos_token_ids is not None
        else _eos_ids(generation, text_config),
        files=files,
        defaults=SamplingDefaults(
            temperature=generation.get("temperature"),
            top_p=generation.get("top_p"),
            top_k=generation.get("top_k"),
            min_p=generation.get("min_p"),
            repetition_penalty=generation.get("repetition_penalty"),
        ),
        created_unix_s=int(time.time()),
        chat_template_file=chat_template.name if chat_template and pieces is None else None,
        tokenizes=pieces is not None,
    )
    return card, {file.sha256: paths[file.name] for file in files}


def _card_file(name: str, path: Path) -> CardFile:
    size_bytes = path.stat().st_size
    if size_bytes > FILE_BYTES_MAX:
        raise StartError(
            f"{path} has {size_bytes} bytes; a tokenizer file may have {FILE_BYTES_MAX}"
        )
    with path.open("rb") as file:
        return CardFile(
            name=name, sha256=file_digest(file, "sha256").hexdigest(), size_bytes=size_bytes
        )


def _read(paths: dict[str, Path], name: str) -> dict[str, Any]:
    if name not in paths:
        return {}
    try:
        return cast("dict[str, Any]", json.loads(paths[name].read_bytes()))
    except ValueError as error:
        raise StartError(f"{paths[name]} is no JSON: {error}") from None


def _eos_ids(*configs: dict[str, Any]) -> list[int]:
    for config in configs:
        eos = config.get("eos_token_id")
        if eos is not None:
            return [int(eos)] if isinstance(eos, int) else [int(token) for token in eos]
    return []
