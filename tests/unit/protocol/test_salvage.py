"""One request's content that is no message costs the others nothing."""

import msgspec
import pytest

from protocol.codec import decode_to_frontend, decode_to_worker, encode
from protocol.embedding import Embed
from protocol.encoding import Encode
from protocol.errors import ProtocolViolation
from protocol.generation import Content, Extras, Finished, Generate, Sampling
from protocol.limits import WIRE_VERSION
from protocol.replies import Delta, Failed, StepBatch, Tokenized
from protocol.requests import Tokenize
from protocol.transport.salvage import encodable, refused, step_in

ONE, TWO = "1" * 32, "2" * 32
WELL = Delta(ONE, 3, b"\1\0\0\0")


def test_what_does_not_encode_is_a_failure_and_the_others_are_as_they_were() -> None:
    sick = Delta(TWO, 7, b"\1\0\0\0", None, Extras([Content("half a pair: \ud83d")]))
    told = encodable([WELL, sick])
    assert told[0] is WELL
    assert (told[1].request_id, told[1].start, told[1].token_ids) == (TWO, 7, b"")
    assert isinstance(told[1].end, Failed)
    assert decode_to_frontend(encode(StepBatch(told))) == StepBatch(told)


@pytest.mark.parametrize(
    "sick",
    [Delta(TWO, 7, b"", Finished("stop", -1, 1)), Delta(TWO, 7, b"", Failed("x", "y" * 2_001))],
)
def test_of_a_step_that_does_not_decode_the_well_deltas_are_left(sick: Delta) -> None:
    frames = encode(StepBatch([WELL, sick]))
    with pytest.raises(ProtocolViolation):
        decode_to_frontend(frames)
    step = step_in(frames)
    assert step is not None
    assert step.deltas[0] == WELL
    assert (step.deltas[1].request_id, step.deltas[1].start) == (TWO, 7)
    assert isinstance(step.deltas[1].end, Failed)


def test_a_request_that_does_not_decode_is_refused_by_its_id() -> None:
    long = "s" * 300
    for request in (
        Generate(ONE, "m", b"", Sampling(1), 1, cache_salt=long),
        Embed(ONE, "m", b"", 1, lora_name=long),
        Encode(ONE, "m", [], 1, lora_name=long),
    ):
        frames = encode(request)
        with pytest.raises(ProtocolViolation):
            decode_to_worker(frames)
        answer = refused(frames, "too long")
        assert isinstance(answer, StepBatch)
        assert [(delta.request_id, isinstance(delta.end, Failed)) for delta in answer.deltas] == [
            (ONE, True)
        ]
    answer = refused(encode(Tokenize(TWO, long, 1)), "too long")
    assert isinstance(answer, Tokenized)
    assert (answer.query_id, answer.failed is not None) == (TWO, True)


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [b""],
        [WIRE_VERSION],
        [b"\x02", b"\xc0"],
        [WIRE_VERSION, b"\xc1"],
        [WIRE_VERSION, b"\x91" * 100_000],
        [WIRE_VERSION, msgspec.msgpack.encode({"type": "abort", "request_id": ONE})],
        [WIRE_VERSION, msgspec.msgpack.encode({"type": "generate", "request_id": "short"})],
        [WIRE_VERSION, msgspec.msgpack.encode({"type": "step", "deltas": 7})],
        [WIRE_VERSION + b"xx", msgspec.msgpack.encode({"type": "step", "deltas": []})],
    ],
)
def test_other_garbage_stays_garbage(frames: list[bytes]) -> None:
    assert step_in(frames) is None
    assert refused(frames, "") is None
