"""The model that every simulated worker serves, and what it answers when nothing disturbs it."""

from collections.abc import Collection
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from msgspec import field, structs

from frontend.models.served import ServedModel
from frontend.text.output.choice_text import ChoiceText, OutputRules
from frontend.text.tokenizing.tokenizer import Tokenizer
from protocol.generation import Finished, Generate
from protocol.media import MediaTaken
from protocol.membership import ModelCard
from protocol.tokens import pack_tokens
from workers.demo_model import demo_model_dir
from workers.engine import EngineFacts
from workers.sim import assembly
from workers.sim.pictures import SimPictures
from workers.sim.scheduling.sequence import RequestLimits, Sequence, new_sequence
from workers.sim.settings import SimSettings
from workers.sim.text import TextModel, advance
from workers.sim.vocabulary import read_word_ids

OUTPUT_TOKENS_MEAN: Final = 40.0
"""Most answers end by length, some by their end token."""

_NO_FACTS: Final = {"sim_speedup": 1.0, "stream_interval": 1, "schedule_conservativeness": 1.0}
"""How an engine runs, which its facts do not tell: a seed draws these more than anything else."""

IMAGE_TOKEN: Final = 1_999
"""Stands for pictures in prompts; that it may be text as well confuses nobody, since the places of
pictures are told.
"""

_TAKEN: Final = MediaTaken(IMAGE_TOKEN, counts_images=True, encoder="demo")

_read_model = assembly.read_model
_build_card = lru_cache(maxsize=8)(assembly.build_card)
_words: dict[tuple[object, ...], list[int]] = {}


def _read_word_ids(path: Path, *, excluded: Collection[int], **options: Any) -> list[int]:
    """As the engine's, but the file is read once."""
    key = path, *excluded, *options.values()
    if key not in _words:
        _words[key] = read_word_ids(path, excluded=excluded, **options)
    return _words[key]


@lru_cache(maxsize=1_024)
def read_model(settings: SimSettings) -> tuple[EngineFacts, list[int]]:
    """Facts and words; the files are read once for all settings, and looked for once for those that
    have the same facts.
    """
    return _read_once(replace(settings, **_NO_FACTS))


@lru_cache(maxsize=256)
def _read_once(settings: SimSettings) -> tuple[EngineFacts, list[int]]:
    with (
        patch.object(assembly, "build_card", _build_card),
        patch.object(assembly, "read_word_ids", _read_word_ids),
    ):
        facts, words = _read_model(settings)
    # the wall clock is none of a seed's business
    return structs.replace(facts, card=structs.replace(facts.card, created_unix_s=0)), words


@lru_cache(maxsize=1_024)
def read_seeing_model(settings: SimSettings) -> tuple[EngineFacts, list[int]]:
    """The same of a model that takes pictures."""
    facts, words = read_model(settings)
    seeing = structs.replace(facts.card, media=_TAKEN)
    return structs.replace(facts, card=seeing), words


class RecordedRules(OutputRules, frozen=True):
    """Rules of one request that keep what tokens its choices were given, in order."""

    choices: list["RecordedText"] = field(default_factory=list)


class RecordedText(ChoiceText):
    """Text that remembers its tokens, packed u32."""

    __slots__ = ("tokens",)
    tokens: bytes

    def add(self, packed: bytes, finished: object) -> str:
        """As ChoiceText."""
        self.tokens += packed
        return super().add(packed, finished)  # type: ignore[arg-type]


class RecordedModel(ServedModel):
    """The demo model, whose choices can be looked into."""

    def choice_text(self, rules: OutputRules) -> ChoiceText:
        """As ServedModel."""
        assert isinstance(rules, RecordedRules)
        text = RecordedText(
            self.new_detokenizer(skip_special_tokens=rules.skip_special_tokens), rules
        )
        text.tokens = b""
        rules.choices.append(text)
        return text


@lru_cache(maxsize=1)
def demo_tokenizer() -> Tokenizer:
    """Loading takes a good part of a second."""
    return Tokenizer.load(demo_model_dir() / "tokenizer.json", "hf")


def served(card: ModelCard) -> RecordedModel:
    """The model as a frontend holds it."""
    return RecordedModel(card, demo_tokenizer(), {})


@lru_cache(maxsize=1)
def _plain_model() -> tuple[TextModel, RequestLimits, frozenset[int]]:
    facts, words = read_model(SimSettings())
    text = TextModel(
        words, eos_id=facts.card.eos_token_ids[0], output_tokens_mean=OUTPUT_TOKENS_MEAN
    )
    limits = RequestLimits(
        context_length=facts.card.context_length,
        vocab_size=facts.card.vocab_size,
        kv_tokens_max=16_000,
    )
    return text, limits, frozenset(facts.card.eos_token_ids)


def undisturbed(request: Generate) -> tuple[bytes, Finished]:
    """Tokens, packed u32, and end of an engine that runs this request alone.

    Picked here one by one, with no scheduler: what one does to a request is none of its answer.
    """
    text, limits, eos_ids = _plain_model()
    cached_prompt = SimPictures().cached_prompt(request)
    sequence = new_sequence(request, limits, text, eos_ids, cached_prompt=cached_prompt)
    assert isinstance(sequence, Sequence), sequence
    state, salt, output = sequence.state, sequence.salt, []
    for count in range(sequence.max_new_tokens):
        may_end = count >= sequence.may_end_at
        token_id = text.pick(state, salt, may_end)
        if not may_end and token_id in sequence.banned_ids:
            token_id = text.pick_except(state, salt, sequence.banned_ids)
        output.append(token_id)
        if may_end and token_id in sequence.stop_ids:
            end = Finished("stop", sequence.prompt_tokens, len(output), 0, token_id)
            return pack_tokens(output), end
        state = advance(state, token_id)
    return pack_tokens(output), Finished("length", sequence.prompt_tokens, len(output), 0)
