"""What a request is when it goes on elsewhere, and when it does not."""

from collections.abc import Collection

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from frontend.fleet.worker import CLEARED_AFTER_TOKENS
from frontend.inflight.migration import Trail
from frontend.inflight.poison import PROVEN_MAX, REFUSED_S, PoisonList
from frontend.routing.route import RouteRequest
from protocol.errors import PoisonRequest, WorkerLost
from protocol.generation import Generate, Grammar, Sampling
from protocol.losses import LossCause
from protocol.tokens import count_tokens, pack_tokens

PROMPT = pack_tokens([1, 2, 3])
MANY = pack_tokens(range(CLEARED_AFTER_TOKENS))


def _request(
    max_new: int = 100,
    *,
    stream: bool = True,
    min_new: int = 0,
    seed: int | None = None,
    prompt: bytes = PROMPT,
) -> Generate:
    sampling = Sampling(max_new, min_new_tokens=min_new, seed=seed)
    return Generate(
        "0" * 32, "m", prompt, sampling, 1 << 50, stream=stream, lora_name="a", cache_salt="s"
    )


def _lose(
    trail: Trail,
    cause: LossCause,
    leg: bytes,
    *,
    moves_max: int,
    worker_id: str = "w0",
    back: Collection[str] = (),
) -> None:
    trail.lose(
        cause, leg, worker_id=worker_id, answers_again=back.__contains__, moves_max=moves_max
    )


@given(
    st.lists(
        st.lists(st.integers(0, 1000), min_size=CLEARED_AFTER_TOKENS, max_size=9),
        min_size=1,
        max_size=3,
    ),
    st.integers(1, 40),
)
def test_prompt_and_output_go_on_with_as_many_fewer_to_generate(
    legs: list[list[int]], min_new: int
) -> None:
    request, trail = _request(min_new=min_new), Trail()
    for leg in legs:
        _lose(trail, "died", pack_tokens(leg), moves_max=3)
    output = pack_tokens([token for leg in legs for token in leg])
    moved = trail.go_on(request, "1" * 32)
    assert moved is not None
    assert (moved.request_id, moved.token_ids, moved.cache_salt, moved.lora_name) == (
        "1" * 32,
        PROMPT + output,
        "s",
        "a",
    )
    assert moved.sampling.max_new_tokens == 100 - count_tokens(output)
    assert moved.sampling.min_new_tokens == max(0, min_new - count_tokens(output))
    assert trail.route(RouteRequest(PROMPT, session_id="x")).prompt_tokens == 3 + count_tokens(
        output
    )


def test_a_grammar_goes_on_behind_what_it_has_generated() -> None:
    trail = Trail()
    _lose(trail, "died", MANY, moves_max=3)
    grammar = Grammar("regex", "a+", field="regex")
    moved = trail.go_on(replace(_request(), grammar=grammar), "1" * 32)
    assert isinstance(moved, Generate)
    assert moved.grammar == replace(grammar, replayed_tokens=CLEARED_AFTER_TOKENS)


def test_when_everything_was_generated_there_is_nothing_to_go_on_with() -> None:
    trail = Trail()
    _lose(trail, "died", MANY, moves_max=3)
    assert trail.go_on(_request(CLEARED_AFTER_TOKENS), "1" * 32) is None
    assert trail.go_on(_request(CLEARED_AFTER_TOKENS + 1), "1" * 32) is not None


def test_it_is_moved_so_often_and_no_more() -> None:
    trail = Trail()
    _lose(trail, "died", MANY, moves_max=2)
    _lose(trail, "stopped", b"", moves_max=2)
    with pytest.raises(WorkerLost, match="moved 2 times"):
        _lose(trail, "died", MANY, moves_max=2)
    with pytest.raises(WorkerLost, match="switched off"):
        _lose(Trail(), "died", MANY, moves_max=0)


def test_a_worker_that_dies_of_a_lone_suspect_proves_it() -> None:
    trail = Trail()
    _lose(trail, "died", b"", moves_max=3)
    assert trail.alone
    moved = trail.go_on(_request(stream=False), "1" * 32)
    assert moved is not None
    assert moved.stream  # or nobody would see that it lives
    with pytest.raises(PoisonRequest):
        _lose(trail, "died", b"", moves_max=3)


@pytest.mark.parametrize("cause", ["unhealthy", "silent"])
def test_workers_that_do_not_answer_prove_it_only_three_times_in_a_row(cause: LossCause) -> None:
    trail = Trail()
    _lose(trail, cause, b"", moves_max=3, worker_id="w0")
    _lose(trail, cause, b"", moves_max=3, worker_id="w1")
    assert trail.alone
    with pytest.raises(PoisonRequest):
        _lose(trail, cause, b"", moves_max=3, worker_id="w2")


@pytest.mark.parametrize("cause", ["died", "silent"])
def test_workers_that_answer_again_accuse_nobody(cause: LossCause) -> None:
    """On a host that is starved of CPU the two workers take turns in being silent."""
    trail = Trail()
    _lose(trail, "silent", b"", moves_max=3, worker_id="w0")
    _lose(trail, "unhealthy", b"", moves_max=3, worker_id="w1", back=["w0"])
    _lose(trail, cause, b"", moves_max=3, worker_id="w0", back=["w0", "w1"])


def test_a_death_proves_it_beside_one_that_still_does_not_answer() -> None:
    trail = Trail()
    _lose(trail, "silent", b"", moves_max=3, worker_id="w0")
    with pytest.raises(PoisonRequest):
        _lose(trail, "died", b"", moves_max=3, worker_id="w1")


def test_tokens_clear_a_suspect() -> None:
    trail = Trail()
    _lose(trail, "died", b"", moves_max=3)
    _lose(trail, "died", MANY, moves_max=3)
    assert not trail.alone


def test_a_request_that_ran_moves_freely_once_and_alone_if_it_does_not_get_on() -> None:
    trail = Trail()
    _lose(trail, "died", pack_tokens([1]), moves_max=3)
    assert not trail.alone
    _lose(trail, "died", pack_tokens([2]), moves_max=3)
    assert trail.alone


@pytest.mark.parametrize("cause", ["stopped", "restarted", "out_of_step"])
def test_who_leaves_on_purpose_accuses_nobody(cause: LossCause) -> None:
    trail = Trail()
    for _ in range(3):
        _lose(trail, cause, b"", moves_max=3)
    assert not trail.alone


def test_a_twin_is_refused_whatever_its_seed_and_length_and_for_a_while_only() -> None:
    poison = PoisonList()
    poison.add(_request(seed=1), now=0.0)
    with pytest.raises(PoisonRequest):
        poison.check(_request(7, seed=2), now=REFUSED_S - 1)
    poison.check(_request(prompt=pack_tokens([9])), now=1.0)
    poison.check(_request(min_new=5), now=1.0)
    poison.check(_request(), now=REFUSED_S)


def test_the_list_is_bounded_and_forgets_the_oldest() -> None:
    poison = PoisonList()
    for token in range(PROVEN_MAX + 1):
        poison.add(_request(prompt=pack_tokens([token])), now=0.0)
    poison.check(_request(prompt=pack_tokens([0])), now=1.0)
    with pytest.raises(PoisonRequest):
        poison.check(_request(prompt=pack_tokens([PROVEN_MAX])), now=1.0)


def test_what_one_process_proves_the_others_refuse() -> None:
    here, elsewhere = PoisonList(), PoisonList()
    here.on_proven = lambda fingerprint: elsewhere.note(fingerprint, 5.0)
    here.add(_request(), 5.0)
    with pytest.raises(PoisonRequest):
        elsewhere.check(_request(), 6.0)
    elsewhere.check(_request(), 5.0 + REFUSED_S)
