"""Bytes → request struct, with errors a client can act on."""

import difflib
import re
from typing import Final, Generic, TypeVar

import msgspec

from protocol.errors import InvalidJson, InvalidRequest, UnsupportedParameter

RequestT = TypeVar("RequestT", bound=msgspec.Struct)

_AT: Final = re.compile(r" - at `\$\.?(.*)`$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`")


class BodyParser(Generic[RequestT]):
    """Decodes one kind of body. Reusable: one per endpoint."""

    def __init__(self, kind: type[RequestT]) -> None:
        self._decoder = msgspec.json.Decoder(kind)
        self._fields = [field.encode_name for field in msgspec.structs.fields(kind)]

    def parse(self, body: bytes) -> RequestT:
        """The request in `body`.

        Raises:
            InvalidJson: it is no JSON.
            UnsupportedParameter: a field is unknown; the nearest known name is suggested.
            InvalidRequest: a field is missing, of the wrong type or out of range; `param` says which.
        """
        try:
            return self._decoder.decode(body)
        except msgspec.ValidationError as error:
            raise self._explained(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidJson("We could not parse the JSON body of your request. (The body must be a JSON object in UTF-8.)") from None

    def _explained(self, text: str) -> InvalidRequest:
        at = _AT.search(text)
        param = at.group(1) if at else None
        reason = _AT.sub("", text)
        unknown = _UNKNOWN.match(reason)
        if unknown:
            name = unknown.group(1)
            near = difflib.get_close_matches(name, self._fields, n=1) if param is None else []
            hint = f" Did you mean {near[0]!r}?" if near else ""
            full_name = f"{param}.{name}" if param else name
            return UnsupportedParameter(f"Unknown parameter: {full_name!r}.{hint}", param=full_name)
        missing = re.match(r"Object missing required field `(.*)`", reason)
        if missing:
            name = f"{param}.{missing.group(1)}" if param else missing.group(1)
            return InvalidRequest(f"Missing required parameter: {name!r}.", param=name)
        reason = reason.replace("`", "")
        return InvalidRequest(f"Invalid value for {param!r}: {reason}." if param else f"Invalid request: {reason}.", param=param)
