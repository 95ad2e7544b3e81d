"""Fields of a body that its struct does not have are found by walking both."""

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

from msgspec.inspect import ListType, Metadata, StructType, Type, UnionType


class Unknown(NamedTuple):
    """An Unknown is a field of a body that is not of its object's struct.

    Attributes:
        holder: the object that has it, for taking it out.
        path: dotted, without the indexes of lists, which `param` has.
        known: names of the fields that there are.
    """

    holder: dict[str, Any]
    name: str
    path: str
    param: str
    known: list[str]


def unknown_fields(raw: Any, kind: Type, path: str = "", param: str = "") -> Iterator[Unknown]:
    """Yields every unknown field of structs that forbid them, in the client's order.

    Each may be taken out before the next is asked for.
    """
    for option in options_of(kind):
        if isinstance(raw, dict) and isinstance(option, StructType):
            yield from _of_object(cast("dict[str, Any]", raw), option, path, param)
        elif isinstance(raw, list) and isinstance(option, ListType):
            for at, item in enumerate(cast("list[Any]", raw)):
                yield from unknown_fields(item, option.item_type, path, f"{param}[{at}]")


def _of_object(raw: dict[str, Any], struct: StructType, path: str, param: str) -> Iterator[Unknown]:
    if struct.tag_field is not None and raw.get(struct.tag_field) != struct.tag:
        return
    fields = {field.encode_name: field.type for field in struct.fields}
    for name in list(raw):
        inner_path, inner_param = (f"{path}.{name}", f"{param}.{name}") if path else (name, name)
        if name in fields:
            yield from unknown_fields(raw[name], fields[name], inner_path, inner_param)
        elif struct.cls.__struct_config__.forbid_unknown_fields and name != struct.tag_field:
            yield Unknown(raw, name, inner_path, inner_param, list(fields))


def options_of(kind: Type) -> Iterator[Type]:
    """Yields the types that a type stands for: itself, or those of a union."""
    if isinstance(kind, UnionType):
        for option in kind.types:
            yield from options_of(option)
    elif isinstance(kind, Metadata):
        yield from options_of(kind.type)
    else:
        yield kind
