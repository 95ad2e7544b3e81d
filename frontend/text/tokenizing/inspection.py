"""Finds out what Hugging Face's `tokenizers` says about a tokenizer.json, in a process of its own.

The reference library is needed at load only, when another backend is to encode. Loading it here
would leave 20 to 45 MiB of torn-up heap behind for a 151k vocabulary (measured), a quarter of the
frontend's whole memory budget; a child gives all of it back.

    python -m frontend.text.tokenizing.inspection TOKENIZER_JSON

writes msgpack of `Inspection` to stdout.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from frontend.text.tokenizing.hard_texts import hard_texts
from frontend.text.tokenizing.segments import safe_marks
from protocol.text.piece_tables import checked_pieces
from protocol.text.pieces import PieceTable
from protocol.tokens import pack_tokens

if TYPE_CHECKING:
    from tokenizers import Tokenizer as HfTokenizer

CHILD_WAIT_S_MAX: Final = 120
"""Bounds the wait for the child: the largest published tokenizers take about 4 s; a machine that
swaps may take longer.
"""


class TokenizerUnusable(Exception):
    """A TokenizerUnusable says, in one line, why a tokenizer.json cannot be served."""


class EncodedText(Struct, frozen=True, array_like=True):
    """An EncodedText holds the reference ids of one text, as packed u32."""

    text: str
    plain: bytes
    with_special: bytes


class Inspection(Struct, frozen=True):
    """An Inspection holds what the reference library says about a tokenizer.json.

    Attributes:
        vocab_size: one more than the largest id.
        pieces: how ids become text; checked against the library.
        reference: the library's ids of the hard texts.
        marks: added tokens where a text may be cut (frontend.text.tokenizing.segments), to be
        checked with whatever encodes.
        adds_tokens: whether a plain prompt gets tokens of its own, such as a BOS.
    """

    vocab_size: int
    pieces: PieceTable
    reference: list[EncodedText]
    marks: list[str] = []
    adds_tokens: bool = True


def open_hf(tokenizer_json: Path) -> "HfTokenizer":
    """Returns the library's tokenizer, set to neither cut nor pad whatever the file says.

    Raises:
        TokenizerUnusable: the library does not read the file.
    """
    from tokenizers import Tokenizer  # noqa: PLC0415 - 5 MiB that fastokens does without

    try:
        tokenizer = Tokenizer.from_file(str(tokenizer_json))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception
        raise TokenizerUnusable(f"tokenizer.json: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def inspect_in_child(tokenizer_json: Path) -> Inspection:
    """Runs `inspect_tokenizer` in a child process and returns what it found.

    Blocks for about a second: call it off the event loop.

    Raises:
        TokenizerUnusable: the file is no tokenizer, or the child did not answer within
        CHILD_WAIT_S_MAX.
    """
    package_root = str(Path(__file__).resolve().parents[3])
    search_path = os.pathsep.join([package_root, *filter(None, [os.environ.get("PYTHONPATH")])])
    command = [
        sys.executable,
        "-P",
        "-m",
        "frontend.text.tokenizing.inspection",
        str(tokenizer_json),
    ]
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=os.environ | {"PYTHONPATH": search_path},
            timeout=CHILD_WAIT_S_MAX,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TokenizerUnusable(f"tokenizer.json: not read within {CHILD_WAIT_S_MAX} s") from None
    if child.returncode:
        last_line = (
            child.stderr.decode(errors="replace").strip().splitlines()
            or [f"exit status {child.returncode}"]
        )[-1]
        raise TokenizerUnusable(last_line)
    return msgspec.msgpack.decode(child.stdout, type=Inspection)


def inspect_tokenizer(tokenizer_json: Path) -> Inspection:
    """Reads the tokenizer with the reference library.

    Raises:
        TokenizerUnusable: the library does not read the file.
    """
    tokenizer = open_hf(tokenizer_json)
    decoder = msgspec.json.decode(tokenizer_json.read_bytes(), type=_DecoderOnly).decoder
    texts = hard_texts(token.content for token in tokenizer.get_added_tokens_decoder().values())
    plain = [
        pack_tokens(encoding.ids)
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    ]
    special = [
        pack_tokens(encoding.ids)
        for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=True)
    ]
    vocab_size = max(tokenizer.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    return Inspection(
        vocab_size=vocab_size,
        pieces=checked_pieces(tokenizer, decoder),
        reference=[EncodedText(*row) for row in zip(texts, plain, special, strict=True)],
        marks=safe_marks(tokenizer.get_added_tokens_decoder().values()),
        adds_tokens=plain != special,
    )


class _DecoderOnly(Struct):
    decoder: dict[str, Any] | None = None


def main() -> int:
    """Inspects the file that the command line names and writes the result to stdout: the child's
    side.
    """
    try:
        inspection = inspect_tokenizer(Path(sys.argv[1]))
    except TokenizerUnusable as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.buffer.write(msgspec.msgpack.encode(inspection))
    return 0


if __name__ == "__main__":
    sys.exit(main())
