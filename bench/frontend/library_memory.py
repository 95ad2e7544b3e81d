"""`python -m bench.frontend.library_memory fastokens|hf TOKENIZER_JSON`: how many MiB a process has
more once a tokenizer's library has read a file and encoded a word, and what is free went back.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from frontend.text.tokenizing.backends import TokenizerBackend, open_fastokens, open_hf_backend
from protocol.process.free_memory import resident_bytes, return_free_memory
from protocol.process.large_blocks import return_large_blocks
from protocol.process.single_arena import share_one_arena

LIBRARIES: Final[dict[str, Callable[[Path], TokenizerBackend]]] = {
    "fastokens": open_fastokens,
    "hf": open_hf_backend,
}


def main() -> None:
    """Measures and prints."""
    return_large_blocks()
    share_one_arena()
    before = resident_bytes()
    library = LIBRARIES[sys.argv[1]](Path(sys.argv[2]))
    library.encode("word", add_special_tokens=False)
    return_free_memory()
    print(round((resident_bytes() - before) / 2**20, 1))


if __name__ == "__main__":
    main()
