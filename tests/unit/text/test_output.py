"""Text of a choice under stop rules, however its tokens are batched."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as HfTokenizer

from frontend.text.output.choice_text import ChoiceText, OutputRules
from frontend.text.tokenizing.inspection import inspect_tokenizer
from protocol.generation import Finished
from protocol.text.detokenizer import Detokenizing
from protocol.tokens import pack_tokens

KINDS = ["byte_level", "llama", "word_piece"]
TEXT = "The quick brown fox 🎉 jumps over the lazy dog. 中文 don't, don't"


class Letters:
    """Token i is the i-th letter."""

    def feed(self, token_ids: Sequence[int]) -> str:
        return "".join(chr(ord("a") + token_id) for token_id in token_ids)

    def flush(self) -> str:
        return ""


def ids(text: str) -> list[int]:
    return [ord(char) - ord("a") for char in text]


def run(
    choice: ChoiceText, token_ids: list[int], bursts: list[int], end: Finished | None
) -> tuple[str, int | None]:
    """Deliver in bursts, the end with the last; nothing more is delivered behind a stop, as the
    request is then aborted.
    """
    text, start = "", 0
    for size in [*bursts, len(token_ids)]:
        burst = token_ids[start : start + size]
        start += size
        last = start >= len(token_ids)
        text += choice.add(pack_tokens(burst), end if last else None)
        if last or choice.stopped_after_tokens is not None:
            break
    return text, choice.stopped_after_tokens


def finished(count: int, matched_token_id: int | None = None) -> Finished:
    return Finished(
        "stop" if matched_token_id is not None else "length",
        1,
        count,
        matched_token_id=matched_token_id,
    )


def test_a_stop_behind_min_tokens_is_found_in_the_delivery_that_crosses_it() -> None:
    choice = ChoiceText(Letters(), OutputRules(stops=("cd",), min_tokens=4))
    assert run(choice, ids("cdabcdxyz"), [], finished(9)) == ("cdab", 6)


def test_a_stop_that_begins_within_min_tokens_does_not_count() -> None:
    choice = ChoiceText(Letters(), OutputRules(stops=("cd",), min_tokens=3))
    assert run(choice, ids("abcdefcd"), [], finished(8)) == ("abcdef", 8)


def test_tokens_behind_the_stop_are_not_counted_and_not_shown() -> None:
    choice = ChoiceText(Letters(), OutputRules(stops=("c",), include_stop=True))
    assert run(choice, ids("abcdef"), [], finished(6)) == ("abc", 3)
    assert choice.add(pack_tokens(ids("more")), None) == ""
    assert choice.stopped_after_tokens == 3


def test_the_stop_token_is_left_out_and_cannot_complete_a_stop_string() -> None:
    choice = ChoiceText(Letters(), OutputRules(stops=("bc",)))
    assert run(choice, ids("abc"), [], finished(3, matched_token_id=2)) == ("ab", None)


def test_without_stops_all_text_comes_at_once() -> None:
    choice = ChoiceText(Letters(), OutputRules(min_tokens=3))
    assert run(choice, ids("abcdef"), [2], finished(6)) == ("abcdef", None)


@pytest.fixture(scope="module")
def detokenizings(tokenizer_files: dict[str, Path]) -> dict[str, tuple[HfTokenizer, Detokenizing]]:
    made: dict[str, tuple[HfTokenizer, Detokenizing]] = {}
    for kind in KINDS:
        reference = HfTokenizer.from_file(str(tokenizer_files[kind]))
        pieces = inspect_tokenizer(tokenizer_files[kind]).pieces
        made[kind] = (
            reference,
            Detokenizing(
                pieces, lambda ids, skip, own=reference: own.decode(ids, skip_special_tokens=skip)
            ),
        )
    return made


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
@settings(
    deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_batching_gives_the_same_text_and_the_same_end(
    detokenizings: dict[str, tuple[HfTokenizer, Detokenizing]], kind: str, data: st.DataObject
) -> None:
    reference, detokenizing = detokenizings[kind]
    text_ids = reference.encode(TEXT, add_special_tokens=False).ids
    any_ids = st.lists(st.integers(0, reference.get_vocab_size() - 1), min_size=1, max_size=40)
    token_ids = data.draw(st.one_of(st.just(text_ids), any_ids))
    whole = reference.decode(token_ids)
    cut = data.draw(st.integers(0, max(0, len(whole) - 1)))
    stops = (whole[cut : cut + data.draw(st.integers(1, 4))] or "x", "don")
    rules = OutputRules(
        stops=stops, include_stop=data.draw(st.booleans()), min_tokens=data.draw(st.integers(0, 12))
    )
    end = finished(len(token_ids), data.draw(st.sampled_from([None, token_ids[-1]])))
    bursts = data.draw(st.lists(st.integers(1, 9), max_size=20))

    def choice() -> ChoiceText:
        return ChoiceText(detokenizing.new(skip_special_tokens=True), rules)

    one_by_one = run(choice(), token_ids, [1] * len(token_ids), end)
    assert run(choice(), token_ids, bursts, end) == one_by_one
    assert run(choice(), token_ids, [], end) == one_by_one
