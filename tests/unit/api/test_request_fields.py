"""Fields that strangers fill: every wrong value is the client's error, never ours."""

from typing import Any, cast

import msgspec
import pytest

from frontend.api.anthropic.schemas import MessagesRequest
from frontend.api.fields.messages import check_messages
from frontend.api.fields.parsing import BodyParser
from frontend.api.fields.sampling import sampling_for, sampling_of_choice
from frontend.api.fields.schemas import CompletionRequest
from frontend.api.native.schemas import SamplingParams
from frontend.api.responses.schemas import ResponsesRequest
from frontend.models.served import ServedModel
from frontend.text.templates.template import ChatTemplate
from protocol.errors import InvalidRequest
from protocol.generation import Sampling
from protocol.membership import ModelCard


def nested(depth: int) -> list[Any]:
    made: list[Any] = []
    for _ in range(depth):
        made = [made]
    return made


def parsed(**fields: Any) -> CompletionRequest:
    return BodyParser(CompletionRequest).parse(
        msgspec.json.encode({"model": "m", "prompt": "x", **fields})
    )


@pytest.mark.parametrize("role", [[], {}, None, 7, "king", "k" * 10_000, nested(5_000)])
def test_a_role_of_any_kind_is_refused_in_few_words(role: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_messages([{"role": role, "content": "hi"}])
    assert raised.value.param == "messages[0].role"
    assert len(raised.value.message) < 300


@pytest.mark.parametrize("kind", [[], {}, None, nested(5_000)])
def test_a_part_of_any_type_is_refused(kind: Any) -> None:
    with pytest.raises(InvalidRequest) as raised:
        check_messages([{"role": "user", "content": [{"type": kind}]}])
    assert raised.value.param == "messages[0].content[0].type"


@pytest.mark.parametrize("key", ["9" * 5_000, "-1", "", "x", "100", "٣", "1.0"])
def test_a_logit_bias_key_that_is_no_token_is_refused(card: ModelCard, key: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        sampling_for(CompletionRequest(model="m", prompt="x", logit_bias={key: 1.0}), card, 1)
    assert raised.value.param == "logit_bias"


def test_a_logit_bias_key_within_the_vocabulary_is_taken(card: ModelCard) -> None:
    assert sampling_for(
        CompletionRequest(model="m", prompt="x", logit_bias={"99": 1.0}), card, 1
    ).logit_bias == {"99": 1.0}


def test_top_p_0_is_the_likeliest_token(card: ModelCard) -> None:
    sampling = sampling_for(parsed(top_p=0, top_k=40, max_tokens=1), card, 1)
    assert (sampling.top_p, sampling.top_k) == (1.0, 1)


@pytest.mark.parametrize("wrong", [{"max_tokens": -1}, {"top_p": -0.1}, {"top_p": 1.1}])
def test_numbers_that_mean_nothing_to_openai_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parsed(**wrong)
    assert [raised.value.param] == [*wrong]


def test_template_kwargs_may_bear_the_names_of_our_own_parameters(card: ModelCard) -> None:
    template = ChatTemplate("{{ messages[0]['content'] }}-{{ self }}", {})
    served = ServedModel(card, cast("Any", None), {"default": template})
    assert served.render([{"role": "user", "content": "hi"}], tools=None, self=1).startswith("hi-")


def test_every_choice_has_a_seed_of_its_own_within_an_int64() -> None:
    sampling = Sampling(max_new_tokens=1, seed=2**63 - 2)
    seeds = [sampling_of_choice(sampling, index).seed for index in range(4)]
    assert seeds == [2**63 - 2, 2**63 - 1, -(2**63), -(2**63) + 1]
    assert sampling_of_choice(Sampling(max_new_tokens=1), 3).seed is None


@pytest.mark.parametrize("penalty", ["5e-324", "0.009", "0", "-1", "2.1"])
@pytest.mark.parametrize(
    ("kind", "rest"),
    [
        (CompletionRequest, '"model": "m", "prompt": "x"'),
        (ResponsesRequest, '"model": "m", "input": "x"'),
        (
            MessagesRequest,
            '"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]',
        ),
        (SamplingParams, ""),
    ],
)
def test_a_penalty_that_makes_logits_infinite_is_refused(
    kind: Any, rest: str, penalty: str
) -> None:
    def body(value: str) -> str:
        return f'{{{rest}{", " if rest else ""}"repetition_penalty": {value}}}'

    msgspec.json.decode(body("0.01"), type=kind)
    with pytest.raises(msgspec.ValidationError, match="repetition_penalty"):
        msgspec.json.decode(body(penalty), type=kind)
