"""Forms are taken apart however they are cut, and hostile ones cost little."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.http import forms as subject
from frontend.http.forms import FormParser, FormPart, boundary_of
from protocol.errors import InvalidRequest

BOUNDARY = b"x7"


def body(*parts: tuple[str, bytes], boundary: bytes = BOUNDARY) -> bytes:
    made = b"".join(
        b"--%b\r\ncontent-disposition: form-data; %b\r\n\r\n%b\r\n"
        % (boundary, head.encode(), data)
        for head, data in parts
    )
    return made + b"--" + boundary + b"--\r\n"


def read(form: bytes, cut: int = 65_536, boundary: bytes = BOUNDARY) -> list[FormPart]:
    parser = FormParser(boundary)
    for start in range(0, len(form), cut):
        parser.add(form[start : start + cut])
    return parser.parts()


@given(
    parts=st.lists(
        st.tuples(st.sampled_from(["a", "image[]"]), st.binary(max_size=40)), max_size=5
    ),
    cut=st.integers(1, 50),
)
def test_a_form_is_the_same_however_it_is_cut(parts: list[tuple[str, bytes]], cut: int) -> None:
    made = body(*((f'name="{name}"', data) for name, data in parts))
    if any(b"\r\n--" + BOUNDARY in b"\r\n" + data + b"\r\n" for _, data in parts) or not parts:
        return  # no client chooses a boundary that its data have
    assert read(made, cut) == [FormPart(name, data) for name, data in parts]


def test_forms_of_httpx_are_understood() -> None:
    request = httpx.Request(
        "POST",
        "http://x",
        data={"prompt": "ein Fuchs, füllig", "n": "2"},
        files=[("image[]", ("a ü.png", b"\r\n--\0", "image/png")), ("image[]", b"b")],
    )
    boundary = boundary_of(request.headers["content-type"].encode())
    assert boundary
    assert read(request.read(), 7, boundary) == [
        FormPart("prompt", "ein Fuchs, füllig".encode()),
        FormPart("n", b"2"),
        FormPart("image[]", b"\r\n--\0", is_file=True),
        FormPart("image[]", b"b", is_file=True),
    ]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        (b"multipart/form-data; boundary=abc", b"abc"),
        (b'Multipart/Form-Data; charset=x; boundary="a b"', b"a b"),
        (b"multipart/form-data", b""),
        (b"multipart/form-data; boundary=" + b"a" * 300, b""),
        (b"multipart/form-data2; boundary=abc", None),
        (b"multipart/mixed; boundary=abc", None),
        (b"text/plain", None),
    ],
)
def test_the_boundary_is_that_of_the_content_type(
    content_type: bytes, boundary: bytes | None
) -> None:
    assert boundary_of(content_type) == boundary


def many_headers(count: int) -> bytes:
    head = b"".join(b"x-%d: y\r\n" % number for number in range(count))
    return b'--x7\r\n%bcontent-disposition: form-data; name="a"\r\n\r\n1\r\n--x7--' % head


HOSTILE = {
    "nothing": (b"", "ends before"),
    "no boundary": (b"hello" * 1_000, "RFC 7578"),
    "cut off": (body(('name="a"', b"1"))[:-8], "ends before"),
    "no name": (body(("x=1", b"1")), "no name"),
    "no disposition": (b"--x7\r\nx: y\r\n\r\n1\r\n--x7--", "no name"),
    "no headers": (b"--x7\r\n\r\n1\r\n--x7--", "no name"),
    "a name of bytes": (
        b'--x7\r\ncontent-disposition: form-data; name="\xff"\r\n\r\n1\r\n--x7--',
        "no UTF-8",
    ),
    "a huge header": (body(('name="%s"' % ("a" * 100_000), b"1")), "header size"),
    "many headers": (many_headers(1_000), "header count"),
    "many parts": (body(*[('name="a"', b"1")] * 1_000), "at most 128"),
    "a large part": (body(('name="a"; filename="b"', b"1" * 30_000_000)), "at most"),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("cut", [65_536, 997])
def test_what_is_no_form_is_refused(name: str, cut: int) -> None:
    form, says = HOSTILE[name]
    with pytest.raises(InvalidRequest, match=says):
        read(form, cut)


@pytest.mark.parametrize("unit", [b"\r\n--x7x", b"\r\n--x7", b"\r\n--x7-", b"\r\n--x7\r"])
def test_a_body_of_near_boundaries_is_not_read_to_its_end(unit: bytes) -> None:
    """The library looks at each of them for some 2 µs: 45 MB would be ten seconds."""
    parser = FormParser(BOUNDARY)
    parser.add(b'--x7\r\ncontent-disposition: form-data; name="a"\r\n\r\n')
    parser.add(unit * (65_536 // len(unit)))
    assert parser._fault is not None


def test_after_a_fault_nothing_is_kept() -> None:
    parser = FormParser(BOUNDARY)
    parser.add(body(('name="a"', b"1" * 1_000))[:-8])
    parser.add(b"\r\n--x7?")
    for _ in range(200):
        parser.add(b"\r\n--x7")
    assert parser._parts == parser._pieces == []
    assert subject.PARTS_MAX == 128
