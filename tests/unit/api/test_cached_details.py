"""Where cached tokens were, in SGLang's words."""

from typing import Any

import pytest

from frontend.api.answers.cached_details import cached_details, sglext
from frontend.api.fields.schemas import CompletionRequest
from protocol.generation import CachedBelow, Extras, Finished
from protocol.replies import Delta
from protocol.tokens import pack_tokens
from tests.unit.api.placed_choice import placed_choice

ASKED = CompletionRequest(model="m", prompt="p", return_cached_tokens_details=True)


@pytest.mark.parametrize(
    ("below", "told"),
    [
        (None, {"device": 64, "host": 0}),
        (CachedBelow(16), {"device": 48, "host": 16}),
        (
            CachedBelow(16, 0, "HiCacheFile"),
            {"device": 48, "host": 16, "storage": 0, "storage_backend": "HiCacheFile"},
        ),
        (CachedBelow(16, 32), {"device": 16, "host": 16, "storage": 32}),
        (CachedBelow(50, 50), {"device": 0, "host": 50, "storage": 14}),
    ],
)
def test_the_places_together_are_the_cached_tokens(
    below: CachedBelow | None, told: dict[str, Any]
) -> None:
    done = placed_choice(finished=Finished("stop", 100, 5, cached_tokens=64, cached_below=below))
    assert cached_details(done) == told
    assert sum(told.get(place, 0) for place in ("device", "host", "storage")) == 64


def test_after_a_move_no_more_is_told_than_the_clients_prompt_has() -> None:
    moved = placed_choice(
        finished=Finished("stop", 120, 5, cached_tokens=112, cached_below=CachedBelow(104))
    )
    assert cached_details(moved) == {"device": 0, "host": 100}


def test_an_answer_that_its_reader_ends_tells_what_came_with_its_first_token() -> None:
    begun = placed_choice()
    first = Extras(cached_tokens=32, cached_below=CachedBelow(8))
    begun.stream.push(Delta("r", 0, pack_tokens([1]), None, first))
    begun.advance()
    assert cached_details(begun) == {"device": 24, "host": 8}


def test_nothing_is_told_unasked_or_where_nothing_was_cached() -> None:
    found = placed_choice(finished=Finished("stop", 100, 5, cached_tokens=16))
    nothing = placed_choice(finished=Finished("stop", 100, 5))
    unasked = CompletionRequest(model="m", prompt="p")
    assert sglext(unasked, [found]) is None
    assert sglext(ASKED, [nothing]) is None
    assert sglext(ASKED, [nothing, found]) == {"cached_tokens_details": {"device": 16, "host": 0}}
