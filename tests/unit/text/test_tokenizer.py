"""Tokenizer.load and encoding against the reference library."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from tokenizers import Tokenizer as HfTokenizer

from frontend.text.tokenizing.backends import FastokensBackend, HfBackend, TokenizerBackend
from frontend.text.tokenizing.hard_texts import FRAGMENTS
from frontend.text.tokenizing.inspection import (
    Inspection,
    TokenizerUnusable,
    inspect_in_child,
    inspect_tokenizer,
)
from frontend.text.tokenizing.segment_cache import SegmentCache
from frontend.text.tokenizing.tokenizer import Backend, Tokenizer
from protocol.errors import InvalidRequest
from protocol.tokens import pack_tokens, unpack_tokens


@pytest.fixture(scope="module")
def inspections(tokenizer_files: dict[str, Path]) -> dict[Path, Inspection]:
    return {file: inspect_tokenizer(file) for file in tokenizer_files.values()}


class Disagreeing:
    """A backend that gets one text wrong."""

    name = "fastokens"
    inline_chars_max = 100
    threads_max = 1
    keeps_at_once = False

    def __init__(self, file: Path) -> None:
        self._right = HfBackend(HfTokenizer.from_file(str(file)))

    def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
        ids = self._right.encode(text, add_special_tokens=add_special_tokens)
        return ids[:-4] if text == FRAGMENTS[-1] else ids

    def encode_each(self, texts: Sequence[str]) -> list[bytes]:
        return [self.encode(text, add_special_tokens=False) for text in texts]

    def token_id(self, token: str) -> int | None:
        return self._right.token_id(token)

    def token(self, token_id: int) -> str | None:
        return self._right.token(token_id)


def broken(_file: Path) -> TokenizerBackend:
    raise TokenizerUnusable("fastokens does not read the tokenizer.json: of its own reasons")


@pytest.mark.parametrize("kind", ["byte_level", "llama", "gemma", "word_piece"])
@pytest.mark.parametrize("backend", ["auto", "hf"])
def test_ids_and_text_are_those_of_the_reference(
    tokenizer_files: dict[str, Path], inspections: dict[Path, Inspection], kind: str, backend: str
) -> None:
    file = tokenizer_files[kind]
    tokenizer, reference = (
        Tokenizer.load(file, backend, inspect=inspections.__getitem__),
        HfTokenizer.from_file(str(file)),
    )
    for text in FRAGMENTS:
        for special in (False, True):
            wanted = reference.encode(text, add_special_tokens=special).ids
            assert tokenizer.encode(text, add_special_tokens=special) == pack_tokens(wanted)
            assert tokenizer.detokenizing.decode(
                wanted, skip_special_tokens=False
            ) == reference.decode(wanted, skip_special_tokens=False)
    assert tokenizer.token_id("no such token") is None
    assert tokenizer.vocab_size == reference.get_vocab_size()


def test_auto_takes_fastokens_where_it_agrees(
    tokenizer_files: dict[str, Path], inspections: dict[Path, Inspection]
) -> None:
    pytest.importorskip("fastokens")
    tokenizer = Tokenizer.load(tokenizer_files["byte_level"], inspect=inspections.__getitem__)
    assert tokenizer.backend_name == "fastokens"
    assert tokenizer.token_id("<|im_start|>") == HfTokenizer.from_file(
        str(tokenizer_files["byte_level"])
    ).token_to_id("<|im_start|>")


@pytest.mark.parametrize("open_fast", [Disagreeing, broken])
def test_auto_falls_back_and_fastokens_refuses_where_it_does_not(
    tokenizer_files: dict[str, Path],
    inspections: dict[Path, Inspection],
    open_fast: type[Disagreeing],
    caplog: pytest.LogCaptureFixture,
) -> None:
    file = tokenizer_files["byte_level"]
    fallen = Tokenizer.load(file, "auto", open_fast=open_fast, inspect=inspections.__getitem__)
    assert fallen.backend_name == "hf"
    assert "fastokens" in caplog.text
    with pytest.raises(TokenizerUnusable, match="fastokens"):
        Tokenizer.load(file, "fastokens", open_fast=open_fast, inspect=inspections.__getitem__)


def test_no_thread_that_stays_has_encoded_once_a_tokenizer_is_loaded(
    tokenizer_files: dict[str, Path], inspections: dict[Path, Inspection]
) -> None:
    file, threads = tokenizer_files["byte_level"], set[threading.Thread]()

    class Watched(Disagreeing):
        def encode(self, text: str, *, add_special_tokens: bool) -> bytes:
            threads.add(threading.current_thread())
            return self._right.encode(text, add_special_tokens=add_special_tokens)

    Tokenizer.load(
        file, templates="<|im_start|>", open_fast=Watched, inspect=inspections.__getitem__
    )
    assert threads
    assert not any(thread.is_alive() for thread in threads)


def test_what_fastokens_tokenizes_needs_no_reference_library_in_this_process(
    tokenizer_files: dict[str, Path],
) -> None:
    program = (
        "import sys; from pathlib import Path;"
        "from frontend.text.tokenizing.tokenizer import Tokenizer;"
        "Tokenizer.load(Path(sys.argv[1]), 'fastokens').encode('a', add_special_tokens=False);"
        "assert 'tokenizers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, tokenizer_files["byte_level"]], check=True)


def test_a_child_finds_what_this_process_finds(
    tokenizer_files: dict[str, Path], inspections: dict[Path, Inspection]
) -> None:
    file = tokenizer_files["llama"]
    assert inspect_in_child(file) == inspections[file]


@pytest.mark.parametrize("content", ["", "{", "{}", '{"model": 3}', '["a"]'])
def test_a_file_that_is_no_tokenizer_is_named_without_its_path(
    tmp_path: Path, content: str
) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(content)
    with pytest.raises(TokenizerUnusable) as refused:
        Tokenizer.load(file)
    assert str(tmp_path) not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_unknown_backend_is_refused(tokenizer_files: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="auto, hf, fastokens"):
        Tokenizer.load(tokenizer_files["llama"], "tiktoken")


@pytest.mark.parametrize("library", [HfBackend, FastokensBackend])
def test_a_file_that_asks_for_truncation_or_padding_is_not_obeyed(
    tokenizer_files: dict[str, Path],
    tmp_path: Path,
    library: type[HfBackend] | type[FastokensBackend],
) -> None:
    made = json.loads(tokenizer_files["byte_level"].read_text())
    made["truncation"] = {
        "direction": "Right",
        "max_length": 4,
        "strategy": "LongestFirst",
        "stride": 0,
    }
    made["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "<s>",
    }
    file = tmp_path / "tokenizer.json"
    file.write_text(json.dumps(made))
    wanted = (
        HfTokenizer.from_file(str(tokenizer_files["byte_level"]))
        .encode("one two three four five six")
        .ids
    )
    assert len(wanted) > 4
    backend = "hf" if library is HfBackend else "fastokens"
    tokenizer = Tokenizer.load(file, backend, inspect=inspect_tokenizer)
    assert (
        list(
            unpack_tokens(tokenizer.encode("one two three four five six", add_special_tokens=True))
        )
        == wanted
    )


@pytest.mark.parametrize("backend", ["hf", "fastokens"])
async def test_long_text_goes_through_the_pool_with_the_same_ids(
    tokenizer_files: dict[str, Path], inspections: dict[Path, Inspection], backend: str
) -> None:
    tokenizer = await asyncio.to_thread(
        Tokenizer.load, tokenizer_files["byte_level"], backend, inspect=inspections.__getitem__
    )
    short, long = "a few words", "many 🎉 words " * 4_000
    for text in (short, long):
        assert await tokenizer.encode_off_loop(text, add_special_tokens=True) == tokenizer.encode(
            text, add_special_tokens=True
        )
    for text in (short + "\ud800", long + "\udfff"):
        with pytest.raises(InvalidRequest, match="surrogate"):
            await tokenizer.encode_off_loop(text, add_special_tokens=False)


async def of_chats(
    file: Path, backend: Backend, cache: SegmentCache, inspections: dict[Path, Inspection]
) -> Tokenizer:
    """A tokenizer that cuts chats where a turn begins, and keeps what it made of the pieces."""
    return await asyncio.to_thread(
        Tokenizer.load,
        file,
        backend,
        cache=cache,
        templates="<|im_start|>",
        inspect=inspections.__getitem__,
    )


@pytest.mark.parametrize("backend", ["hf", "fastokens"])
async def test_a_growing_chat_has_the_tokens_of_the_whole_and_only_its_new_turns_are_tokenized(
    tokenizer_files: dict[str, Path], inspections: dict[Path, Inspection], backend: str
) -> None:
    cache = SegmentCache(2**20)
    tokenizer = await of_chats(tokenizer_files["byte_level"], backend, cache, inspections)
    chat, tokens = "", b""
    for turn in range(40):
        chat += (
            f"<|im_start|>user\nnumber {turn} 🎉 "
            + "many words and " * 150
            + "<|im_end|>\n<|im_start|>assistant\n"
        )
        tokens = await tokenizer.encode_off_loop(chat, add_special_tokens=False)
        assert tokens == tokenizer.encode(chat, add_special_tokens=False)
        chat += "a short answer<|im_end|>\n"
    assert cache.hits > cache.misses
    before = cache.uncached_tokens
    assert await tokenizer.encode_off_loop(chat, add_special_tokens=True) == tokenizer.encode(
        chat, add_special_tokens=True
    )
    assert cache.uncached_tokens - before < len(tokens) // 4 // 30
    with pytest.raises(InvalidRequest, match="surrogate"):
        await tokenizer.encode_off_loop(chat + "\ud800", add_special_tokens=False)


@pytest.mark.parametrize(("backend", "times"), [("hf", 1), ("fastokens", 2)])
async def test_what_is_cheap_to_tokenize_is_kept_when_it_comes_again(
    tokenizer_files: dict[str, Path],
    inspections: dict[Path, Inspection],
    backend: str,
    times: int,
) -> None:
    cache = SegmentCache(2**20)
    tokenizer = await of_chats(tokenizer_files["byte_level"], backend, cache, inspections)
    chat = "".join(f"turn {turn} of {'many words ' * 2_000}<|im_start|>" for turn in range(4))
    for came in range(3):
        assert bool(cache.bytes_held) == (came >= times)
        await tokenizer.encode_off_loop(chat, add_special_tokens=False)


async def test_a_tokenizer_with_a_start_of_its_own_is_not_cut_for_plain_prompts(
    tokenizer_files: dict[str, Path], inspections: dict[Path, Inspection]
) -> None:
    cache = SegmentCache(2**20)
    tokenizer = await asyncio.to_thread(
        Tokenizer.load,
        tokenizer_files["llama"],
        "hf",
        cache=cache,
        templates="</s>",
        inspect=inspections.__getitem__,
    )
    text = ("many words " * 200 + "</s>") * 4
    for special in (True, False, True, False):
        assert await tokenizer.encode_off_loop(
            text, add_special_tokens=special
        ) == tokenizer.encode(text, add_special_tokens=special)
    assert (cache.hits, cache.misses) == (1, 1)
