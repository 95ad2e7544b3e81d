"""Which models a frontend remembers, and which it loads again."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from frontend.models.files import FileCache
from frontend.models.loader import ModelLoader
from protocol.membership import Capacity, Hello, ModelCard

CAPACITY = Capacity(dp_size=1, kv_tokens=1_000, page_size_tokens=10, requests_running_max=1)


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the models that were loaded, which takes no files here."""
    names: list[str] = []

    def load(_: ModelLoader, card: ModelCard, *__: Any) -> Any:
        names.append(card.name)
        return SimpleNamespace(card=card)

    monkeypatch.setattr(ModelLoader, "_load", load)
    monkeypatch.setattr(ModelLoader, "MODELS_KEPT_MAX", 2)
    return names


async def test_the_model_that_was_not_used_for_longest_is_forgotten(
    loaded: list[str], tmp_path: Path
) -> None:
    nothing = cast("Any", None)
    loader = ModelLoader(
        FileCache(str(tmp_path)),
        tokenizer_backend="huggingface",
        segments=nothing,
        new_query_id=lambda: "q" * 32,
    )
    for name in ("often", "once", "often", "another", "often", "once"):
        card = ModelCard(name, context_length=8, vocab_size=8, eos_token_ids=[0], files=[])
        hello = Hello(name, 1, "text", "dyn://n.c.e", card, CAPACITY, 1)
        served = await loader.prepare(hello, nothing, nothing)
        assert served.card.name == name
    assert loaded == ["often", "once", "another", "once"]
