"""Reads what a model's tokenizer files say about its prompts: chat templates, special tokens, how
generation ends.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, cast

import msgspec
from msgspec import Struct

from frontend.text.tokenizing.inspection import TokenizerUnusable

TEMPLATE_CHARS_MAX: Final = 4 * 1024 * 1024
"""Bounds a chat template: a published one has at most about 30 thousand characters; more than this
is another file by mistake.
"""

_SPECIAL_TOKENS: Final = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


class ModelFiles(Struct, frozen=True):
    """ModelFiles holds what a model's tokenizer files say about its prompts.

    Attributes:
        chat_templates: sources by name; a single one is "default"; empty if the model has none.
        special_tokens: what templates see by these names: bos_token, eos_token, unk_token,
        pad_token …
        eos_token_ids: ids that end generation, the model's own order.
        add_bos_token: whether a plain prompt starts with the BOS token, or None where
        tokenizer.json alone decides.
        tokenizer_config: tokenizer_config.json as it is, less the template.
    """

    chat_templates: dict[str, str]
    special_tokens: dict[str, str]
    eos_token_ids: list[int]
    add_bos_token: bool | None
    tokenizer_config: dict[str, Any] = {}


def read_model_files(
    files: Mapping[str, Path], *, chat_template_file: str | None = None
) -> ModelFiles:
    """Reads what is there of tokenizer_config.json, special_tokens_map.json, chat_template.jinja,
    chat_template.json, generation_config.json and config.json.

    Args:
        files: plain file name → where it lies.
        chat_template_file: the file in `files` that overrides every other template: Jinja text, or
        JSON as chat_template.json has it.
    Raises:
        TokenizerUnusable: a file is not what its name says, or the override is missing. The message
        names the file, not its path.
    """
    tokenizer_config = _read_object(files, "tokenizer_config.json")
    generation, config = (
        _read_object(files, "generation_config.json"),
        _read_object(files, "config.json"),
    )
    text_config = cast("dict[str, Any]", config.get("text_config") or {})
    add_bos = tokenizer_config.get("add_bos_token")
    return ModelFiles(
        chat_templates=_chat_templates(files, tokenizer_config, chat_template_file),
        special_tokens=_special_tokens(
            _read_object(files, "special_tokens_map.json"), tokenizer_config
        ),
        eos_token_ids=_eos_ids(generation, text_config, config),
        add_bos_token=add_bos if isinstance(add_bos, bool) else None,
        tokenizer_config={
            name: value for name, value in tokenizer_config.items() if name != "chat_template"
        },
    )


def _chat_templates(
    files: Mapping[str, Path], tokenizer_config: Mapping[str, Any], override: str | None
) -> dict[str, str]:
    """Returns the override, else a file of its own, else the entry in tokenizer_config.json: the
    order in which transformers looks.
    """
    if override is not None:
        if override not in files:
            raise TokenizerUnusable(f"the chat template {override} is not among the model's files")
        return _templates_of_file(files, override)
    for name in ("chat_template.jinja", "chat_template.json"):
        if name in files:
            return _templates_of_file(files, name)
    return _templates_of_entry(tokenizer_config.get("chat_template"))


def _templates_of_file(files: Mapping[str, Path], name: str) -> dict[str, str]:
    if name.endswith(".json"):
        return _templates_of_entry(_read_object(files, name).get("chat_template"))
    try:
        source = files[name].read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise TokenizerUnusable(f"{name} cannot be read as UTF-8 text") from None
    return _templates_of_entry(source)


def _templates_of_entry(entry: Any) -> dict[str, str]:
    """Returns name → source of a template, a list of {name, template}, or a mapping name →
    template.
    """
    if isinstance(entry, str):
        named: dict[str, Any] = {"default": entry}
    elif isinstance(entry, list):
        named = {
            str(one.get("name")): one.get("template")
            for one in cast("list[dict[str, Any]]", entry)
            if isinstance(one, dict)  # pyright: ignore[reportUnnecessaryIsInstance]
        }
    else:
        named = dict(cast("dict[str, Any]", entry)) if isinstance(entry, dict) else {}
    if any(
        isinstance(source, str) and len(source) > TEMPLATE_CHARS_MAX for source in named.values()
    ):
        raise TokenizerUnusable(f"the chat template has more than {TEMPLATE_CHARS_MAX} characters")
    return {name: source for name, source in named.items() if isinstance(source, str)}


def _special_tokens(*sources: Mapping[str, Any]) -> dict[str, str]:
    """Returns the special tokens that the sources name, of which later ones win. A token is written
    as a string or as {"content": string, …}.
    """
    tokens: dict[str, str] = {}
    for source in sources:
        for name in _SPECIAL_TOKENS:
            written = source.get(name)
            content: Any = (
                cast("dict[str, Any]", written).get("content")
                if isinstance(written, dict)
                else written
            )
            if isinstance(content, str):
                tokens[name] = content
    return tokens


def _eos_ids(*configs: Mapping[str, Any]) -> list[int]:
    for config in configs:
        written: Any = config.get("eos_token_id")
        ids = cast("list[Any]", written) if isinstance(written, list) else [written]
        if ids and all(type(id_) is int for id_ in ids):
            return ids
    return []


def _read_object(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    if name not in files:
        return {}
    try:
        return msgspec.json.decode(files[name].read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise TokenizerUnusable(f"{name} is no JSON object") from None
