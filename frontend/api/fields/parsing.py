"""Bodies become request structs here, with errors that a client can act on."""

import difflib
import re
from collections.abc import Mapping
from functools import cached_property, partial
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec.inspect import Type, type_info

from frontend.api.fields.refusals import HARMLESS, REFUSED_FIELDS, asks_for_nothing
from frontend.api.fields.unknown_fields import Unknown, unknown_fields
from frontend.http.body_counts import ITEMS_MAX, check_counts
from frontend.http.exchange import Exchange
from frontend.http.ignored import REFUSING, Ignored
from protocol.errors import InvalidJson, InvalidRequest, UnsupportedParameter

RequestT = TypeVar("RequestT", bound=msgspec.Struct)

_AT: Final = re.compile(r" - at `\$\.?(.*)`$")
_TEXT_CHARS_MAX: Final = 300
"""So many characters are kept of the beginning and of the end of a decoder's error."""

_UNKNOWN: Final = "Object contains unknown field `"

SHOWN_CHARS_MAX: Final = 100
"""A client is told so many characters of a name of its own; no field of ours has a longer one."""


class BodyParser(Generic[RequestT]):
    """A BodyParser decodes one kind of body. Reusable: one per endpoint.

    Args:
        refused: fields that are known and not honoured, with the reason.
        items_max: as `check_counts`.
    """

    def __init__(
        self,
        kind: type[RequestT],
        refused: Mapping[str, str] = REFUSED_FIELDS,
        *,
        items_max: int = ITEMS_MAX,
    ) -> None:
        self._kind = kind
        self._items_max = items_max
        self._decoder = msgspec.json.Decoder(kind)
        self._refused = refused

    async def read(self, exchange: Exchange) -> RequestT:
        """Returns the request that an exchange brings; a large one is counted and parsed in a
        thread.

        Raises:
            MeshError: as `Exchange.read_body`, `check_counts` and `parse`.
        """
        body = await exchange.read_body()
        if not exchange.is_large:
            return self.parse(body, ignored=exchange.ignored)
        return await exchange.in_proportion(partial(self._parse_large, body, exchange.ignored))

    def _parse_large(self, body: bytes | bytearray, ignored: Ignored) -> RequestT:
        check_counts(body, self._items_max)
        return self.parse(body, ignored=ignored)

    def parse(self, body: bytes | bytearray, *, ignored: Ignored = REFUSING) -> RequestT:
        """Returns the request in `body`.

        Args:
            ignored: takes what nobody has heard of. Fields of `refused` are refused in any case,
            unless they ask for nothing or are
                harmless.
        Raises:
            InvalidJson: it is no JSON.
            UnsupportedParameter: a field is refused, or unknown where nothing is ignored; the
            nearest known name is suggested.
            InvalidRequest: a field is missing, of the wrong type or out of range; `param` says
            which.
        """
        try:
            try:
                return self._decoder.decode(body)
            except msgspec.ValidationError as error:
                if not str(error).startswith(_UNKNOWN):
                    raise self._explained(str(error)) from None
            return self._without_unknown(body, ignored)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidJson(
                "We could not parse the JSON body of your request. (The body must be a JSON "
                "object in UTF-8.)"
            ) from None

    def from_texts(self, raw: dict[str, Any], *, ignored: Ignored = REFUSING) -> RequestT:
        """Returns the request that has these fields, where texts may stand for numbers and truth
        values; unknown ones are taken out of `raw`.

        Raises:
            InvalidRequest: as `parse`.
        """
        for unknown in unknown_fields(raw, self.info):
            self._ignore(unknown, ignored)
            del unknown.holder[unknown.name]
        try:
            return msgspec.convert(raw, self._kind, strict=False)
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None

    @cached_property
    def info(self) -> Type:
        """Describes the struct that bodies are decoded into."""
        return type_info(self._kind)

    def _without_unknown(self, body: bytes | bytearray, ignored: Ignored) -> RequestT:
        """Returns the request less its unknown fields."""
        raw: Any = msgspec.json.decode(body)
        for unknown in unknown_fields(raw, self.info):
            self._ignore(unknown, ignored)
            del unknown.holder[unknown.name]
        try:
            return self._decoder.decode(msgspec.json.encode(raw))
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None

    def _ignore(self, unknown: Unknown, ignored: Ignored) -> None:
        """Lets an unknown field go.

        Raises:
            UnsupportedParameter: it is known and refused, or nothing is ignored.
        """
        why, value, param = (
            self._refused.get(unknown.path),
            unknown.holder[unknown.name],
            unknown.param[:SHOWN_CHARS_MAX],
        )
        if why is not None and asks_for_nothing(unknown.path, value):
            return
        if why is not None and not (unknown.path in HARMLESS and not ignored.refuses):
            raise UnsupportedParameter(f"{param} is not supported: {why}.", param=param)
        if ignored.refuses:
            near = difflib.get_close_matches(unknown.name[:SHOWN_CHARS_MAX], unknown.known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise UnsupportedParameter(f"Unknown parameter: {param!r}.{hint}", param=param)
        ignored.add(unknown.path, "it is unknown")

    def _explained(self, text: str) -> InvalidRequest:
        if len(text) > 2 * _TEXT_CHARS_MAX:  # it quotes what the client sent
            text = text[:_TEXT_CHARS_MAX] + "…" + text[-_TEXT_CHARS_MAX:]
        at = _AT.search(text)
        param = at.group(1) if at else None
        reason = _AT.sub("", text)
        missing = re.match(r"Object missing required field `(.*)`", reason)
        if missing:
            name = f"{param}.{missing.group(1)}" if param else missing.group(1)
            return InvalidRequest(f"Missing required parameter: {name!r}.", param=name)
        reason = reason.replace("`", "")
        return InvalidRequest(
            f"Invalid value for {param!r}: {reason}." if param else f"Invalid request: {reason}.",
            param=param,
        )
