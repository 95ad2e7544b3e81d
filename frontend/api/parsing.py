"""Bytes → request struct, with errors a client can act on."""

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Generic, Literal, TypeVar, cast

import msgspec
from msgspec.inspect import StructType, UnionType, type_info

from frontend.api.refusals import REFUSED_FIELDS
from protocol.errors import InvalidJson, InvalidRequest, UnsupportedParameter

RequestT = TypeVar("RequestT", bound=msgspec.Struct)

UnknownFields = Literal["refuse", "ignore"]

IGNORED_MAX: Final = 64
"""Unknown fields of one body that are ignored; each costs a further look at the whole of it."""

_AT: Final = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`")


class BodyParser(Generic[RequestT]):
    """Decodes one kind of body. Reusable: one per endpoint.

    Args:
        refused: fields that are known and not honoured, with the reason.
    """

    def __init__(self, kind: type[RequestT], refused: Mapping[str, str] = REFUSED_FIELDS) -> None:
        self._kind = kind
        self._decoder = msgspec.json.Decoder(kind)
        self._refused = refused

    def parse(self, body: bytes, *, unknown: UnknownFields = "refuse") -> RequestT:
        """The request in `body`.

        Args:
            unknown: what becomes of fields that nobody has heard of. Those of `refused` are refused in any case, unless they are null.
        Raises:
            InvalidJson: it is no JSON.
            UnsupportedParameter: a field is unknown or refused; the nearest known name is suggested.
            InvalidRequest: a field is missing, of the wrong type or out of range; `param` says which.
        """
        try:
            try:
                return self._decoder.decode(body)
            except msgspec.ValidationError as error:
                return self._without_unknown(body, str(error), unknown)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidJson("We could not parse the JSON body of your request. (The body must be a JSON object in UTF-8.)") from None

    def _without_unknown(self, body: bytes, reason: str, unknown: UnknownFields) -> RequestT:
        """The request less its unknown fields, as far as those may be ignored."""
        raw: Any = None
        for _ in range(IGNORED_MAX):
            path, name = _unknown_field(reason)
            if name is None:
                break
            raw = raw if raw is not None else msgspec.json.decode(body)
            holder = _at(raw, path)
            if holder is None or name not in holder or not self._may_go(".".join([*path, name]), holder[name], unknown):
                break
            del holder[name]
            try:
                return msgspec.convert(raw, self._kind)
            except msgspec.ValidationError as error:
                reason = str(error)
        raise self._explained(reason)

    def _may_go(self, name: str, value: Any, unknown: UnknownFields) -> bool:
        """Whether an unknown field may be left out.

        Raises:
            UnsupportedParameter: it is one of those that are known and refused.
        """
        if name not in self._refused:
            return unknown == "ignore"
        if value is not None:
            raise UnsupportedParameter(f"{name} is not supported: {self._refused[name]}.", param=name)
        return True

    def _explained(self, text: str) -> InvalidRequest:
        at = _AT.search(text)
        param = at.group(1) if at else None
        reason = _AT.sub("", text)
        path, unknown = _unknown_field(text)
        if unknown is not None:
            near = difflib.get_close_matches(unknown, _known_at(self._kind, path), n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            full_name = ".".join([*path, unknown])
            return UnsupportedParameter(f"Unknown parameter: {full_name!r}.{hint}", param=full_name)
        missing = re.match(r"Object missing required field `(.*)`", reason)
        if missing:
            name = f"{param}.{missing.group(1)}" if param else missing.group(1)
            return InvalidRequest(f"Missing required parameter: {name!r}.", param=name)
        reason = reason.replace("`", "")
        return InvalidRequest(f"Invalid value for {param!r}: {reason}." if param else f"Invalid request: {reason}.", param=param)


def _unknown_field(reason: str) -> tuple[list[str], str | None]:
    """Path of the object that has an unknown field, and the field's name; None if something else is wrong."""
    at = _AT.search(reason)
    found = _UNKNOWN.match(_AT.sub("", reason))
    path = at.group(1).split(".") if at and at.group(1) else []
    return path, found.group(1) if found else None


def _at(raw: Any, path: list[str]) -> dict[str, Any] | None:
    """The object at a path; None if there is none, as when a field's own name looks like a path."""
    for step in path:
        name, *indexes = step.replace("]", "").split("[")
        try:
            raw = raw[name] if name else raw
            for index in indexes:
                raw = raw[int(index)]
        except (KeyError, IndexError, TypeError, ValueError):
            return None
    return cast("dict[str, Any]", raw) if isinstance(raw, dict) else None


def _known_at(kind: type[msgspec.Struct], path: list[str]) -> list[str]:
    """Names of the fields of the struct at `path`; none where the path leads through something that is not one."""
    found: list[StructType] = list(_structs(type_info(kind)))
    for step in path:
        name = step.split("[")[0]
        inner = [field.type for struct in found for field in struct.fields if field.encode_name == name]
        found = [struct for each in inner for struct in _structs(each)]
    return [field.encode_name for struct in found for field in struct.fields]


def _structs(info: msgspec.inspect.Type) -> Iterator[StructType]:
    """The struct types that a type is, or that it is a list of."""
    if isinstance(info, StructType):
        yield info
    elif isinstance(info, UnionType):
        for option in info.types:
            yield from _structs(option)
    elif isinstance(info, msgspec.inspect.ListType | msgspec.inspect.Metadata):
        yield from _structs(info.item_type if isinstance(info, msgspec.inspect.ListType) else info.type)
