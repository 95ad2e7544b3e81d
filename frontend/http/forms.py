"""Takes a form of multipart/form-data apart while it arrives (RFC 7578): fields, and files that
clients upload.
"""

import logging
from typing import Final, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from protocol.errors import InvalidRequest

PARTS_MAX: Final = 128
"""Bounds the parts of a form: every field of OpenAI's has one, each picture, and each entry of an
object.
"""

PART_BYTES_MAX: Final = 28 * 2**20
"""Bounds a part: a picture of 20 MiB, or the same in base64."""

HEADERS_MAX: Final = 8
HEADER_BYTES_MAX: Final = 4_096
"""Bounds a header of a part, of which there are at most HEADERS_MAX; browsers and clients send two
or three, and the name of a file has 255 bytes.
"""

BOUNDARY_BYTES_MAX: Final = 256
"""Bounds the content-type of a form, whose boundary has at most 70 characters (RFC 2046)."""

_FORM: Final = b"multipart/form-data"

# It warns of each byte that it does not understand, and all of them are clients'.
logging.getLogger("python_multipart").setLevel(logging.CRITICAL)


class FormPart(NamedTuple):
    """A FormPart is a field of a form, or a file."""

    name: str
    data: bytes
    is_file: bool = False


def boundary_of(content_type: bytes) -> bytes | None:
    """Returns what separates the parts of a form of this content-type, empty where it does not say
    so; None if it is of no form.
    """
    if content_type[: len(_FORM)].lower() != _FORM:
        return None
    if len(content_type) > len(_FORM) + BOUNDARY_BYTES_MAX:
        return b""
    kind, options = parse_options_header(content_type.decode("latin-1"))
    return options.get(b"boundary", b"") if kind == _FORM else None


class FormParser:
    """A FormParser takes a form piece by piece; after a fault it takes the rest without keeping
    it, so that who sends it is there to read what was wrong.

    Args:
        boundary: as the content-type of the form says.
    """

    def __init__(self, boundary: bytes) -> None:
        self._parts: list[FormPart] = []
        self._fault: InvalidRequest | None = None
        self._complete = False
        self._delimiter = b"\r\n--" + boundary
        self._delimiters = 0
        self._begin()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._add_field,
                "on_header_value": self._add_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._check_name,
                "on_part_data": self._add_data,
                "on_part_end": self._end,
                "on_end": self._finish,
            },
            max_header_count=HEADERS_MAX,
            max_header_size=HEADER_BYTES_MAX,
        )

    def add(self, piece: bytes) -> None:
        """Takes the next bytes of the form."""
        if self._fault is not None:
            return
        # The parser looks at each byte behind something that looks like a boundary, and a body may
        # be made of little else.
        self._delimiters += piece.count(self._delimiter)
        try:
            if self._delimiters > PARTS_MAX:
                raise InvalidRequest(f"A form has at most {PARTS_MAX} parts.")
            self._parser.write(piece)
        except InvalidRequest as fault:
            self._fail(fault)
        except FormParserError as error:
            reason = str(error)[:100]
            self._fail(InvalidRequest(f"The form is not as RFC 7578 has it: {reason}."))

    def parts(self) -> list[FormPart]:
        """Returns the parts in their order, once all bytes were taken.

        Raises:
            InvalidRequest: it is no whole form, or a part of it is beyond the bounds.
        """
        if self._fault is not None:
            raise self._fault
        if not self._complete:
            raise InvalidRequest("The form ends before its last boundary.")
        return self._parts

    def _fail(self, fault: InvalidRequest) -> None:
        self._fault = fault
        self._parts.clear()
        self._pieces.clear()

    def _begin(self) -> None:
        self._name: str | None = None
        self._is_file = False
        self._pieces: list[bytes] = []
        self._size_bytes = 0
        self._begin_header()

    def _begin_header(self) -> None:
        self._field, self._value = b"", b""

    def _add_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _add_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value.decode("latin-1"))
            try:
                name = options.get(b"name", b"").decode()
            except UnicodeDecodeError:
                raise InvalidRequest("A part of the form has a name that is no UTF-8.") from None
            self._name = name
            self._is_file = b"filename" in options
        self._begin_header()

    def _check_name(self) -> None:
        if not self._name:
            raise InvalidRequest("A part of the form has no name.")

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        self._size_bytes += end - start
        if self._size_bytes > PART_BYTES_MAX:
            raise InvalidRequest(
                f"A part of a form has at most {PART_BYTES_MAX} bytes.", param=self._shown_name
            )
        self._pieces.append(data[start:end])

    def _end(self) -> None:
        assert self._name is not None
        self._parts.append(FormPart(self._name, b"".join(self._pieces), self._is_file))
        self._pieces.clear()

    def _finish(self) -> None:
        self._complete = True

    @property
    def _shown_name(self) -> str:
        return (self._name or "")[:100]
