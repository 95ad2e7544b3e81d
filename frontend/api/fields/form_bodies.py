"""Bodies that bring files come as forms, and without files also as JSON: both become the same
struct.

Forms have objects and lists as OpenAI's clients write them: `nvext[seed]`, `image[]`.
"""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final, Generic, NamedTuple, TypeVar, cast

import msgspec
from msgspec.inspect import StrType, StructType

from frontend.api.fields.parsing import SHOWN_CHARS_MAX, BodyParser
from frontend.api.fields.unknown_fields import options_of
from frontend.http.exchange import Exchange
from frontend.http.forms import FormPart
from frontend.http.ignored import REFUSING, Ignored
from protocol.errors import InvalidRequest

RequestT = TypeVar("RequestT", bound=msgspec.Struct)

_NAME: Final = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
_KEYS: Final = re.compile(r"\[([^\[\]]*)\]")
_DEPTH_MAX: Final = 4
"""Bounds the brackets behind a name: no field of ours lies deeper."""


class Upload(NamedTuple):
    """An Upload is a file that a form brings.

    Attributes:
        field: the field that it is of.
        param: the same, with its place where there are several.
    """

    field: str
    param: str
    data: bytes


class FormBodyParser(Generic[RequestT]):
    """A FormBodyParser decodes one kind of body, whether it is JSON or a form.

    Args:
        files: names the fields whose values may be files.
        refused: as BodyParser.
    """

    def __init__(
        self, kind: type[RequestT], files: Collection[str], refused: Mapping[str, str]
    ) -> None:
        self._json = BodyParser(kind, refused)
        self._files = frozenset(files)

    async def read(self, exchange: Exchange) -> tuple[RequestT, list[Upload]]:
        """Returns the request that an exchange brings, and its files in their order.

        Raises:
            MeshError: as `Exchange.read_body`, `Exchange.read_form` and `BodyParser.parse`.
        """
        if not exchange.brings_form:
            return await self._json.read(exchange), []
        parts = await exchange.read_form()
        parse = partial(self.parse, parts, ignored=exchange.ignored)
        return await exchange.in_proportion(parse) if exchange.is_large else parse()

    def parse(
        self, parts: Sequence[FormPart], *, ignored: Ignored = REFUSING
    ) -> tuple[RequestT, list[Upload]]:
        """Returns the request and the files that a form's parts are; a field without any
        characters says nothing.

        Raises:
            InvalidRequest: as `BodyParser.parse`.
        """
        raw: dict[str, Any] = {}
        files: list[tuple[str, bytes]] = []
        for part in parts:
            field, keys = _split(part.name)
            if part.is_file and field in self._files:
                files.append((field, part.data))
            elif text := _text(part):
                _put(raw, field, keys, self._value(field, text))
        return self._json.from_texts(raw, ignored=ignored), _numbered(files)

    def _value(self, field: str, text: str) -> Any:
        """Returns what a text stands for: itself, or the object or list that it writes in JSON for
        a field that takes no text.
        """
        info = self._json.info
        assert isinstance(info, StructType)
        kinds = [
            kind for each in info.fields if each.name == field for kind in options_of(each.type)
        ]
        if text[0] not in "{[" or any(isinstance(kind, StrType) for kind in kinds):
            return text
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            return text


def _split(name: str) -> tuple[str, list[str]]:
    """Returns the field that a part's name begins with, and the keys in brackets behind it."""
    match = _NAME.fullmatch(name)
    if match is None:
        return name, []
    keys: list[str] = _KEYS.findall(match[2])
    if len(keys) > _DEPTH_MAX:
        raise InvalidRequest("A part's name has too many brackets.", param=match[1][:100])
    return match[1], keys


def _text(part: FormPart) -> str:
    try:
        return part.data.decode()
    except UnicodeDecodeError:
        shown = part.name[:SHOWN_CHARS_MAX]
        raise InvalidRequest(f"The field {shown!r} is no text in UTF-8.", param=shown) from None


def _put(raw: dict[str, Any], field: str, keys: Sequence[str], value: Any) -> None:
    """Puts a value where its name says; an empty key, or a second value of a name, makes a list."""
    holder, name = raw, field
    for at, key in enumerate(keys):
        if not key:
            if at + 1 < len(keys):
                raise InvalidRequest("A form has no lists of objects.", param=field[:100])
            listed = holder.setdefault(name, [])
            _check(isinstance(listed, list), field)
            listed.append(value)
            return
        inner = holder.setdefault(name, {})
        _check(isinstance(inner, dict), field)
        holder, name = inner, key
    if name not in holder:
        holder[name] = value
    elif isinstance(holder[name], list):
        cast("list[Any]", holder[name]).append(value)
    else:
        holder[name] = [holder[name], value]


def _check(fits: bool, field: str) -> None:
    if not fits:
        raise InvalidRequest("The form names a field in several ways.", param=field[:100])


def _numbered(files: Sequence[tuple[str, bytes]]) -> list[Upload]:
    counts, seen = Counter(field for field, _ in files), Counter[str]()
    uploads: list[Upload] = []
    for field, data in files:
        param = f"{field}[{seen[field]}]" if counts[field] > 1 else field
        seen[field] += 1
        uploads.append(Upload(field, param, data))
    return uploads
