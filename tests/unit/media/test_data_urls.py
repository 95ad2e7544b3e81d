"""Data URLs: what clients write, and what none should."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.media import data_urls
from frontend.media.data_urls import data_of, is_data_url
from protocol.errors import InvalidRequest

MOST = 1_000


@given(st.binary(min_size=1, max_size=MOST), st.sampled_from(["image/png", "", "a/b;charset=x"]))
def test_what_was_encoded_is_read(data: bytes, kind: str) -> None:
    written = base64.b64encode(data).decode()
    url = f"DATA:{kind};BASE64,{written}"
    assert is_data_url(url)
    assert data_of(url, MOST, "p") == data
    wrapped = "\r\n".join(written[at : at + 76] for at in range(0, len(written), 76))
    assert data_of(f"data:{kind};base64,{wrapped}", MOST, "p") == data
    assert data_of(f"data:{kind};base64,{written.rstrip('=')}", MOST, "p") == data


@given(st.text(max_size=200))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        assert data_of(f"data:image/png;base64,{text}", MOST, "p")


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png,AAAA",
        "data:image/png;base64",
        "data:",
        "data:;base64,",
        "data:;base64,====",
        "data:;base64,AA-_",
        "data:;base64,A",
        "data:;base64,AAAA AAAA!",
        "data:;base64,AA==AAAA",
        "data:;base64,\u00e9" + "A" * 7,
        "data:" + "a" * 2_000 + ";base64,AAAA",
    ],
)
def test_what_is_no_base64_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        data_of(url, MOST, "p")
    assert raised.value.param == "p"


@pytest.mark.parametrize("size", [196_607, 196_608, 196_609, 500_000])
def test_long_ones_are_decoded_in_slices(size: int) -> None:
    data = (bytes(range(251)) * (size // 251 + 1))[:size]
    written = base64.b64encode(data).decode()
    assert data_of(f"data:;base64,{written}", size, "p") == data
    for at, wrong in ((2**18 - 1, "="), (9, "!")):
        damaged = written[:at] + wrong + written[at + 1 :] + "AAAA"
        with pytest.raises(InvalidRequest, match="no valid base64"):
            data_of(f"data:;base64,{damaged}", 2 * size, "p")
    for end in ("\n", " " * 2**19, "==" + "\n" * 2**19):  # wherever a slice ends
        assert data_of(f"data:;base64,{written.rstrip('=')}{end}", size + 2**19, "p") == data
    wrapped = "\r\n".join(written[at : at + 76] for at in range(0, len(written), 76))
    assert data_of(f"data:;base64,{wrapped}", size, "p") == data


@pytest.mark.parametrize(("size", "taken"), [(MOST, True), (MOST + 1, False), (MOST * 4, False)])
def test_the_bound_is_the_one_on_bytes(size: int, taken: bool) -> None:
    url = "data:;base64," + base64.b64encode(bytes(size)).decode()
    if taken:
        assert len(data_of(url, MOST, "p")) == size
    else:
        with pytest.raises(InvalidRequest, match="at most 1000 bytes"):
            data_of(url, MOST, "p")


@pytest.mark.parametrize("character", ["A", " ", "=", "\n", "\u00e9"])
def test_no_call_looks_at_much_of_a_url(character: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call keeps the interpreter to itself: 44 MB of é kept the loop for three seconds."""
    looked_at: list[int] = []
    without_spaces = data_urls._without_spaces

    def counted(text: str) -> str:
        looked_at.append(len(text))
        return without_spaces(text)

    monkeypatch.setattr(data_urls, "_without_spaces", counted)
    for size, bytes_max in ((10 * MOST, MOST), (2**20, 2**20)):
        with suppress(InvalidRequest):
            data_of("data:;base64," + character * size, bytes_max, "p")
    assert max(looked_at, default=0) <= data_urls._SLICE_CHARS
