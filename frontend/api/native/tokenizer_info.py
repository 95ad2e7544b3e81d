"""GET /tokenizer_info tells, as with vLLM, what a client needs to render and count by itself."""

from typing import Any, Final

from frontend.models.served import ServedModel
from protocol.errors import RouteNotFound

_PLACES: Final = (
    "name_or_path",
    "tokenizer_file",
    "vocab_file",
    "merges_file",
    "special_tokens_map_file",
    "auto_map",
)
"""Names the entries that say where files lie on the machine of whoever made them."""


def tokenizer_info(served: ServedModel) -> dict[str, Any]:
    """Returns a model's tokenizer_config.json with the chat template that is used and the special
    tokens as text.

    Raises:
        RouteNotFound: the model's workers tokenize, and its files are not here.
    """
    files = served.files
    if files is None:
        raise RouteNotFound(
            f"The workers of {served.card.name!r} tokenize; its tokenizer's files are not here."
        )
    told = {name: value for name, value in files.tokenizer_config.items() if name not in _PLACES}
    templates = files.chat_templates
    return (
        told
        | files.special_tokens
        | {
            "tokenizer_class": str(told.get("tokenizer_class") or "PreTrainedTokenizerFast"),
            "chat_template": templates.get("default") if len(templates) < 2 else templates,
            "vocab_size": served.card.vocab_size,
            "max_model_len": served.card.context_length,
        }
    )
