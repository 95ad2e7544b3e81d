"""Token ids as bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolViolation
from protocol.tokens import count_tokens, pack_tokens, unpack_tokens

U32 = st.integers(0, 2**32 - 1)


@given(st.lists(U32))
def test_ids_survive_the_round_trip(ids: list[int]) -> None:
    packed = pack_tokens(ids)
    assert list(unpack_tokens(packed)) == ids
    assert count_tokens(packed) == len(ids)
    assert packed == b"".join(token_id.to_bytes(4, "little") for token_id in ids)


def test_a_torn_id_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        unpack_tokens(b"\x00\x00\x00")


def test_ids_that_do_not_fit_are_refused() -> None:
    for wrong in (-1, 2**32):
        with pytest.raises(OverflowError):
            pack_tokens([wrong])
