"""Choices of one prompt: which of them wait for the first one's prompt to be computed."""

import pytest

from frontend.inflight.siblings import siblings
from frontend.routing.leaders import SHARED_TOKENS_MIN
from frontend.routing.route import RouteRequest
from protocol.generation import Generate, Sampling
from protocol.tokens import pack_tokens


def asked(prompt_tokens: list[int], n: int) -> list[tuple[Generate, RouteRequest]]:
    """As Launcher.launch makes them: n choices of each prompt."""
    made: list[tuple[Generate, RouteRequest]] = []
    for number, tokens in enumerate(prompt_tokens):
        route = RouteRequest(pack_tokens([number] * tokens))
        made += [
            (Generate(f"{number:016}{index:016}", "m", b"", Sampling(1), 0, stream=False), route)
            for index in range(n)
        ]
    return made


@pytest.mark.parametrize(
    ("tokens", "n", "waits"),
    [
        (SHARED_TOKENS_MIN, 2, True),
        (SHARED_TOKENS_MIN - 1, 2, False),
        (SHARED_TOKENS_MIN // 8, 9, True),
        (100_000, 1, False),
        (10, 8, False),
    ],
)
def test_siblings_wait_where_much_would_be_computed_again(tokens: int, n: int, waits: bool) -> None:
    [family] = siblings(asked([tokens], n))
    assert [sibling.begun is not None for sibling in family] == [waits] + [False] * (n - 1)
    # its first token must be seen
    assert [sibling.request.stream for sibling in family] == [waits] + [False] * (n - 1)


def test_each_prompt_has_a_family_and_indexes_go_on() -> None:
    families = siblings(asked([600, 10, 600], 3))
    assert [[sibling.index for sibling in family] for family in families] == [
        [0, 1, 2],
        [3, 4, 5],
        [6, 7, 8],
    ]
    assert [family[0].begun is not None for family in families] == [True, False, True]
    assert all(len({id(sibling.route) for sibling in family}) == 1 for family in families)
