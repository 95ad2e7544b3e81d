"""Forms become the same structs as JSON, with errors that name the same fields."""

from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from frontend.api.fields.form_bodies import FormBodyParser, Upload
from frontend.http.forms import FormPart
from frontend.http.ignored import Ignored
from protocol.errors import InvalidRequest, UnsupportedParameter


class Inner(Struct, frozen=True, forbid_unknown_fields=True):
    seed: int | None = None
    words: list[str] | None = None


class Request(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    prompt: str
    n: Annotated[int, Meta(ge=1, le=10)] | None = None
    stream: bool | None = None
    scale: float | None = None
    image: str | list[str] | None = None
    nvext: Inner | None = None


PARSER = FormBodyParser(Request, ["image", "mask"], {"lora_id": "name it"})


def parse(*parts: tuple[str, str | bytes], ignored: Ignored | None = None) -> Any:
    made = [
        FormPart(
            name, value.encode() if isinstance(value, str) else value, isinstance(value, bytes)
        )
        for name, value in parts
    ]
    return PARSER.parse(made, ignored=ignored or Ignored("refuse"))


def test_texts_become_what_the_fields_are() -> None:
    request, files = parse(
        ("prompt", "{a fox}"), ("n", "3"), ("stream", "true"), ("scale", "7.5"), ("image", "x")
    )
    assert request == Request(prompt="{a fox}", n=3, stream=True, scale=7.5, image="x")
    assert files == []


@pytest.mark.parametrize(
    "parts",
    [
        [("nvext[seed]", "5"), ("nvext[words][]", "a"), ("nvext[words][]", "b")],
        [("nvext", '{"seed": 5, "words": ["a", "b"]}')],
    ],
)
def test_objects_are_taken_as_clients_write_them(parts: list[tuple[str, str]]) -> None:
    request, _ = parse(("prompt", "x"), *parts)
    assert request.nvext == Inner(5, ["a", "b"])


def test_a_field_without_characters_says_nothing() -> None:
    assert parse(("prompt", "x"), ("n", ""))[0] == Request(prompt="x")
    with pytest.raises(InvalidRequest, match="Missing required parameter: 'prompt'"):
        parse(("prompt", ""))


def test_lists_come_in_two_forms() -> None:
    for name in ("image", "image[]"):
        request, _ = parse(("prompt", "x"), (name, "a"), (name, "b"))
        assert request.image == ["a", "b"]


def test_files_are_told_apart_and_named() -> None:
    _, files = parse(
        ("prompt", b"sent as a file"), ("image[]", b"1"), ("mask", b"2"), ("image[]", b"3")
    )
    assert files == [
        Upload("image", "image[0]", b"1"),
        Upload("mask", "mask", b"2"),
        Upload("image", "image[1]", b"3"),
    ]


def test_unknown_fields_are_ignored_or_refused_as_in_json() -> None:
    ignored = Ignored("ignore")
    parse(("prompt", "x"), ("colour", "red"), ("nvext[hue]", "1"), ignored=ignored)
    assert ignored.names == ("colour", "nvext.hue")
    with pytest.raises(UnsupportedParameter, match="colour"):
        parse(("prompt", "x"), ("colour", "red"))
    with pytest.raises(UnsupportedParameter, match="name it"):
        parse(("prompt", "x"), ("lora_id", "y"), ignored=Ignored("ignore"))


@pytest.mark.parametrize(
    ("parts", "param"),
    [
        ([("n", "11")], "n"),
        ([("n", "many")], "n"),
        ([("stream", "perhaps")], "stream"),
        ([("nvext[seed]", "x")], "nvext.seed"),
        ([("nvext", "{")], "nvext"),
        ([("nvext", "[1]")], "nvext"),
        ([("n", "1"), ("n", "2")], "n"),
        ([("n", "1"), ("n[a]", "2")], "n"),
        ([("n[][a]", "1")], "n"),
        ([("n[a][b][c][d][e]", "1")], "n"),
        ([("nvext[words][]", "a"), ("nvext[words][b]", "a")], "nvext"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_name(parts: Any, param: str) -> None:
    with pytest.raises(InvalidRequest) as raised:
        parse(("prompt", "x"), *parts)
    assert raised.value.param == param


def test_a_text_that_is_none_is_refused_by_its_name() -> None:
    with pytest.raises(InvalidRequest, match="no text in UTF-8") as raised:
        parse(("prompt", b"\xff"))
    assert raised.value.param == "prompt"
