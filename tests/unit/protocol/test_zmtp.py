"""Messages cut into frames and back, whatever the pieces they come in, and what is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.transport.zmtp import (
    GREETING,
    PING,
    Cutter,
    ZmtpViolation,
    answer_to,
    mechanism_in,
    packed,
    ready,
    socket_type_in,
)

MESSAGES = st.lists(
    st.lists(st.binary(max_size=300), min_size=1, max_size=4), min_size=1, max_size=6
)


def cutter(commands: list[bytes] | None = None, *, prefix: list[bytes] | None = None) -> Cutter:
    return Cutter(
        ([] if commands is None else commands).append,
        prefix=prefix or [],
        frame_bytes_max=70_000,
        message_bytes_max=100_000,
        frames_max=8,
    )


@given(messages=MESSAGES, pieces=st.lists(st.integers(1, 400), max_size=40), data=st.data())
def test_messages_come_out_as_they_went_in(
    messages: list[list[bytes]], pieces: list[int], data: st.DataObject
) -> None:
    commands: list[bytes] = []
    cutting = cutter(commands, prefix=[b"who"])
    pings = data.draw(st.lists(st.booleans(), min_size=len(messages), max_size=len(messages)))
    stream = b"".join(
        PING * ping + packed(message) for ping, message in zip(pings, messages, strict=True)
    )
    found: list[list[bytes]] = []
    for piece in [*pieces, len(stream)]:
        found += cutting.cut(stream[:piece])
        stream = stream[piece:]
    assert found == [[b"who", *message] for message in messages]
    assert commands == [PING[2:]] * sum(pings)


def test_long_frames_and_single_bytes() -> None:
    cutting = cutter()
    message = [b"", b"x" * 255, b"y" * 256, b"z" * 70_000]
    found = [each for byte in packed(message) for each in cutting.cut(bytes((byte,)))]
    assert found == [message]


def test_frames_may_be_packed_without_the_first_ones() -> None:
    assert cutter().cut(packed([b"to whom", b"a", b"b"], 1)) == [[b"a", b"b"]]


@pytest.mark.parametrize(
    "sent",
    [
        b"\x02" + (70_001).to_bytes(8, "big"),
        b"\x02" + b"\xff" * 8,
        packed([b"x" * 60_000, b"y" * 60_000, b""]),
        packed([b""] * 9),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_there(sent: bytes) -> None:
    with pytest.raises(ZmtpViolation):
        cutter().cut(sent)


def test_sockets_say_what_they_are() -> None:
    command = ready(b"DEALER")
    assert command[:2] == bytes((4, len(command) - 2))
    assert socket_type_in(command[2:]) == b"DEALER"
    with_identity = b"\x05READY" + b"\x08Identity" + bytes(4) + command[8:]
    assert socket_type_in(with_identity) == b"DEALER"
    for other in (b"\x05ERROR\x00", b"\x05READY", b"\x05READY\x03abc\x00\x00\x00\x01x", b""):
        with pytest.raises(ZmtpViolation):
            socket_type_in(other)
    for cut in range(8, len(command)):  # whatever is missing, it is one or none
        try:
            assert b"DEALER".startswith(socket_type_in(command[2:cut]))
        except ZmtpViolation:
            continue
        except IndexError:
            pytest.fail("a cut command is no defect")


def test_greetings() -> None:
    assert len(GREETING) == 64
    assert mechanism_in(GREETING) == b"NULL"
    assert mechanism_in(GREETING[:12] + b"CURVE".ljust(20, b"\0") + GREETING[32:]) == b"CURVE"
    for other in (b"GET / HTTP/1.1\r\n".ljust(64), GREETING[:10] + b"\x01" + GREETING[11:]):
        with pytest.raises(ZmtpViolation):
            mechanism_in(other)


def test_signs_of_life_are_answered_with_what_they_bring() -> None:
    assert answer_to(PING[2:]) == b"\x04\x05\x04PONG"
    assert answer_to(b"\x04PING\x00\x0aabc") == b"\x04\x08\x04PONGabc"
    assert answer_to(b"\x04PONGabc") is None
