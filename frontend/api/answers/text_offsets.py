"""A token's `text_offset` is where its text begins in the text of a completion."""

from codecs import utf_8_decode

from frontend.models.served import ServedModel

_REPLACEMENT = "\ufffd"


class TextOffsets:
    """A TextOffsets counts, token by token, where in a text each token's own text begins
    (characters).

    Characters that wait for their end are where they begin, for each token that is part of them.

    Args:
        skip_special_tokens: as in the text that the offsets point into.
    """

    def __init__(self, served: ServedModel, *, skip_special_tokens: bool) -> None:
        self._served = served
        self._skip_special_tokens = skip_special_tokens
        self.begin_at(0)

    def begin_at(self, offset: int) -> None:
        """Begins another text, behind so many characters."""
        self._offset = offset
        self._detokenizer = self._served.new_detokenizer(
            skip_special_tokens=self._skip_special_tokens
        )
        self._unfinished = False

    def of_next(self, token_id: int) -> int:
        """Returns the offset of the next token, in characters."""
        begin, text = self._offset, self._detokenizer.feed((token_id,))
        self._offset += len(text)
        piece = self._served.token_bytes(token_id)
        own, used = utf_8_decode(piece, "replace")
        whole = used == len(piece) and not own.startswith(_REPLACEMENT)
        if whole and own and text.endswith(own):
            # before it may be what a character became that was never finished
            begin = self._offset - len(own)
        elif self._unfinished and text.startswith(_REPLACEMENT):
            begin += 1
        self._unfinished = used < len(piece) or (self._unfinished and not text)
        return begin
