"""`nvext`: what a client asks of the router, in the body and by headers, and what it is told."""

from dataclasses import asdict, fields
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frontend.api.fields.nvext import ExtraField, NvExt, RouterOverride, told, wishes
from frontend.http.routing_headers import HEADER_FIELDS
from frontend.routing.route import Weights
from protocol.errors import InvalidRequest
from protocol.generation import Finished
from protocol.limits import DP_RANKS_MAX, NAME_CHARS_MAX
from tests.unit.api.placed_choice import placed_choice


def read(body: str) -> NvExt:
    return msgspec.json.decode(body, type=NvExt)


BODY = NvExt(
    backend_instance_id="w1", dp_rank=3, session_id="s1", cache_salt="salt", extra_fields=["timing"]
)


def test_nothing_asked_is_nothing_wished() -> None:
    assert wishes(None, {}) == NvExt()
    assert wishes(BODY, {}) is BODY


def test_a_header_wins_over_the_body_and_leaves_the_rest_of_it() -> None:
    asked = wishes(BODY, {"backend_instance_id": "w2", "dp_rank": "0"})
    assert asked == NvExt(
        backend_instance_id="w2",
        dp_rank=0,
        session_id="s1",
        cache_salt="salt",
        extra_fields=["timing"],
    )
    assert wishes(BODY, {"session_id": "s2"}).session_id == "s2"


def test_headers_alone_are_enough() -> None:
    assert wishes(None, {"dp_rank": "7", "session_id": "s"}) == NvExt(dp_rank=7, session_id="s")


def test_every_header_stands_for_a_field() -> None:
    assert set(HEADER_FIELDS.values()) <= set(NvExt.__struct_fields__)
    assert HEADER_FIELDS[b"x-dp-rank"] == HEADER_FIELDS[b"x-data-parallel-rank"] == "dp_rank"
    assert all(name == name.lower() for name in HEADER_FIELDS)


BAD_RANKS = [
    "",
    " ",
    "-1",
    "+1",
    "1.0",
    "1e2",
    "0x1",
    "one",
    "1 ",
    "1_0",
    "²",
    "٣",
    str(DP_RANKS_MAX),
    "9" * 4_000,
    "00001",
]


@pytest.mark.parametrize("value", BAD_RANKS)
def test_a_header_that_is_no_rank_is_the_clients_error(value: str) -> None:
    with pytest.raises(InvalidRequest, match="is no data-parallel rank") as raised:
        wishes(BODY, {"dp_rank": value})
    assert raised.value.param == "x-dp-rank"
    assert len(raised.value.message) < 100


@pytest.mark.parametrize("field", ["backend_instance_id", "session_id"])
@pytest.mark.parametrize("value", ["", "x" * (NAME_CHARS_MAX + 1)])
def test_a_label_in_a_header_has_the_bounds_of_the_body(field: str, value: str) -> None:
    with pytest.raises(InvalidRequest, match=f"1 to {NAME_CHARS_MAX} characters") as raised:
        wishes(None, {field: value})
    assert raised.value.param == field
    with pytest.raises(msgspec.ValidationError):
        read(msgspec.json.encode({field: value}).decode())


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=6) | st.integers(-5, 2 * DP_RANKS_MAX).map(str))
def test_a_rank_in_a_header_is_taken_where_the_body_would_take_its_digits(value: str) -> None:
    digits = value.isascii() and value.isdecimal() and len(value) <= 4
    if digits and int(value) < DP_RANKS_MAX:
        assert wishes(None, {"dp_rank": value}).dp_rank == int(value)
    else:
        with pytest.raises(InvalidRequest):
            wishes(None, {"dp_rank": value})


@pytest.mark.parametrize(
    "body",
    [
        '{"unknown": 1}',
        '{"extra_fields": ["secrets"]}',
        (
            '{"extra_fields": ["timing", "timing", "timing", "timing", "timing", "timing", '
            '"timing", "timing", "timing"]}'
        ),
        '{"dp_rank": -1}',
        f'{{"dp_rank": {DP_RANKS_MAX}}}',
        '{"dp_rank": "1"}',
        '{"backend_instance_id": 5}',
        '{"session_id": ""}',
        '{"cache_salt": ""}',
        '{"router": {"unknown_weight": 1}}',
        '{"router": {"prefill_weight": -0.5}}',
        '{"router": {"prefill_weight": 1e7}}',
        '{"router": {"host_weight": 1.5}}',
        '{"router": {"disk_weight": -1}}',
        '{"router": {"temperature": 101}}',
        '{"router": {"temperature": "hot"}}',
    ],
)
def test_a_body_out_of_bounds_is_refused(body: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        read(body)


FRONTENDS = Weights(
    prefill=1.0, waiting=2.0, request=3.0, host=0.5, disk=0.1, temperature=0.2, tie=9.0
)


def test_an_override_changes_what_it_names_and_no_more() -> None:
    assert read('{"router": {}}').router == RouterOverride()
    assert RouterOverride().over(FRONTENDS) == FRONTENDS
    assert asdict(RouterOverride(waiting_weight=7.0).over(FRONTENDS)) == asdict(FRONTENDS) | {
        "waiting": 7.0
    }


def test_zero_is_a_weight_and_not_nothing() -> None:
    names = RouterOverride.__struct_fields__
    zeros = RouterOverride(**dict.fromkeys(names, 0.0))
    assert asdict(zeros.over(FRONTENDS)) == dict.fromkeys(asdict(FRONTENDS), 0.0) | {
        "tie": FRONTENDS.tie
    }


@pytest.mark.parametrize("name", RouterOverride.__struct_fields__)
def test_each_field_of_an_override_is_one_of_the_weights(name: str) -> None:
    changed = RouterOverride(**{name: 0.75}).over(FRONTENDS)
    differing = [
        field.name
        for field in fields(Weights)
        if getattr(changed, field.name) != getattr(FRONTENDS, field.name)
    ]
    assert differing == [name.removesuffix("_weight").removesuffix("_share")]
    assert getattr(changed, differing[0]) == 0.75


@pytest.mark.parametrize("asked", [None, []])
def test_who_asks_nothing_is_told_nothing(asked: list[ExtraField] | None) -> None:
    assert told(asked, placed_choice()) is None


WHERE = {
    "prefill_worker_id": "w",
    "prefill_dp_rank": 3,
    "decode_worker_id": "w",
    "decode_dp_rank": 3,
}


def test_each_field_tells_its_own() -> None:
    done = placed_choice(
        finished=Finished("stop", 100, 5, cached_tokens=64), queue_s=0.0123456, predicted=48
    )
    assert told(["worker_id"], done) == {"worker_id": WHERE}
    assert told(["timing"], done) == {"timing": {"queue_time_ms": 12.346}}
    assert told(["cached_tokens"], done) == {"cached_tokens": {"predicted": 48, "actual": 64}}


def test_before_the_end_nothing_is_known_of_what_the_engine_found() -> None:
    assert told(["cached_tokens"], placed_choice(predicted=48)) == {
        "cached_tokens": {"predicted": 48, "actual": 0}
    }


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(get_args(ExtraField)), max_size=8))
def test_exactly_what_was_asked_is_told_however_often_it_was(asked: list[ExtraField]) -> None:
    answer = told(asked, placed_choice())
    assert set(answer or {}) == set(asked)
    assert (answer is None) == (not asked)
    msgspec.json.encode(answer)
