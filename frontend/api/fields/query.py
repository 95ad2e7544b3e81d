"""What stands behind the question mark of a path."""

from collections.abc import Collection
from typing import Final
from urllib.parse import parse_qsl

from frontend.http.exchange import Exchange
from protocol.errors import InvalidRequest

FIELDS_MAX: Final = 32
"""Bounds the fields of a query; no endpoint of ours has more than three."""


def query_of(exchange: Exchange, known: Collection[str]) -> dict[str, str]:
    """Returns the fields of a query by their names; unknown ones are noted as ignored.

    Raises:
        InvalidRequest: it has too many fields, or one twice.
        UnsupportedParameter: nothing may be ignored.
    """
    text = exchange.scope.get("query_string", b"").decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError:
        raise InvalidRequest(f"A query has at most {FIELDS_MAX} fields.") from None
    fields: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            exchange.ignored.add(name, "it is unknown")
        elif name in fields:
            raise InvalidRequest(f"{name} is said twice.", param=name)
        else:
            fields[name] = value
    return fields
