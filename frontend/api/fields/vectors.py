"""All requests for work with vectors have some fields in common."""

from typing import Annotated

from msgspec import Meta, Struct

from frontend.api.fields.nvext import Label
from frontend.api.fields.schemas import Model, Priority


class VectorFields(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """VectorFields are what requests for vectors, rankings and scores have in common."""

    model: Model
    user: Annotated[str, Meta(max_length=1_024)] | None = None
    # Extensions
    truncate_prompt_tokens: Annotated[int, Meta(ge=-1, le=2**31 - 1)] | None = None
    """Cuts longer texts to so many tokens, special ones included; -1: to what the model takes.

    Without it a longer text is refused.
    """
    priority: Priority | None = None
    lora_path: Label | None = None
