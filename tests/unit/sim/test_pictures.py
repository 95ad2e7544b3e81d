"""Pictures in simulated engines: what stands for them, and what is told of them."""

from array import array
from pathlib import Path

import pytest
from msgspec.structs import replace

from kv_events.media_pads import Padded, padded
from protocol.generation import Generate, Sampling
from protocol.media import MediaTaken, PromptMedia
from protocol.tokens import pack_tokens, unpack_tokens
from workers.demo_model import demo_model_dir
from workers.sim import pictures
from workers.sim.pictures import SimPictures, media_of, told_of
from workers.sim.scheduling.sequence import RequestLimits, Sequence, new_sequence
from workers.sim.text import TextModel


def asked(*digests: int) -> Generate:
    """A prompt of a token, three for each picture, and another one."""
    tokens = [1, *[9] * 3 * len(digests), 2]
    media = [PromptMedia("image", b"x", digest, 1 + 3 * at, 3) for at, digest in enumerate(digests)]
    return Generate("r" * 32, "m", pack_tokens(tokens), Sampling(1), 0, media=media)


def test_a_real_engine_would_tell_the_same() -> None:
    sim, request = SimPictures(), asked(5, 2**63 - 1)
    cached = array("I", unpack_tokens(sim.cached_prompt(request)))
    runs = [Padded(1, 3, 5), Padded(4, 3, 2**63 - 1)]
    assert sim.told(cached) == [*padded(unpack_tokens(request.token_ids), runs)]


def test_other_pictures_are_other_prompts_and_text_is_left_alone() -> None:
    sim = SimPictures()
    assert sim.cached_prompt(asked(5)) != sim.cached_prompt(asked(6))
    assert sim.cached_prompt(asked()) == asked().token_ids
    assert sim.told(array("I", [1, 2])) == [1, 2]


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "_NAMES_MAX", 8)
    sim = SimPictures()
    first = array("I", unpack_tokens(sim.cached_prompt(asked(1))))
    for digest in (2, 3):
        sim.cached_prompt(asked(digest))
    assert sim.told(first) == [*first]


def test_a_token_stands_for_a_square() -> None:
    assert SimPictures().tokens([(28, 28), (29, 28), (1, 1), (10_000, 10_000)]) == [1, 2, 1, 1_024]


def test_a_model_sees_by_its_configuration(tmp_path: Path) -> None:
    seeing = media_of(demo_model_dir("vision"))
    assert isinstance(seeing, MediaTaken)
    assert seeing.counts_images
    assert media_of(demo_model_dir()) is None
    assert media_of(tmp_path) is None


def test_an_engine_takes_its_time_to_see_what_neither_its_cache_nor_another_worker_has() -> None:
    def seen(request: Generate, cached_tokens: int) -> list[int]:
        limits = RequestLimits(context_length=100, vocab_size=100, kv_tokens_max=100)
        text = TextModel([1], seed=0)
        sequence = new_sequence(request, limits, text, frozenset())
        assert isinstance(sequence, Sequence)
        sequence.cached_tokens = cached_tokens
        return [sequence.see(), sequence.see()]

    both = asked(1, 2)
    assert [seen(both, cached) for cached in (0, 4, 7)] == [[6, 0], [3, 0], [0, 0]]
    first, second = both.media
    fetched = replace(both, media=[replace(first, encoding=told_of(first, "vectors")), second])
    assert seen(fetched, 0) == [3, 0]
