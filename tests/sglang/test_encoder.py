"""Pictures encoded apart on real SGLang, for an engine of the same model, in three families."""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4
from zlib import crc32

import msgspec
import pytest
from msgspec.structs import replace

from protocol.disaggregation import Bootstrap
from protocol.errors import EngineFault, InvalidRequest
from protocol.generation import Generate
from protocol.media import Encoding, PromptMedia
from protocol.replies import Failed
from tests.fleet.pictures import picture
from tests.kit.forks import run_with_sglang
from workers.engine import FAKE_BOOTSTRAP_HOST, EngineFacts

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(500)]

HERE = Path(__file__).parent
FAMILIES = ("qwen2-vl", "qwen2.5-vl", "qwen3-vl")
NEW = 12
PATCHES_A_TOKEN = 4
PICTURES = {"red": picture("red"), "blue": picture("blue", (140, 112))}

Made = Encoding | Failed


def medium(data: bytes, tokens: int = 0, param: str = "") -> PromptMedia:
    return PromptMedia("image", data, crc32(data) + 1, 0, tokens, param)


RED, BLUE = map(medium, PICTURES.values())
DAMAGED = medium(PICTURES["red"][:90], param="here")
MISCOUNTED = replace(RED, tokens=99)
BATCHES = [[RED, DAMAGED, BLUE], [RED, MISCOUNTED, RED]]


def given(batches: list[list[PromptMedia]]) -> str:
    return base64.b64encode(msgspec.msgpack.encode(batches)).decode()


def encode(kind: str, model: Path, *argv: str) -> tuple[EngineFacts, list[list[Made]]]:
    """What an encoder, or a processor, says of itself, and makes of BATCHES."""
    ended = run_with_sglang(
        HERE / "encoder_process.py", kind, "--model-path", model, "--dtype", "float32",
        "--log-level", "warning", *argv, given=given(BATCHES),
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr[-3000:]
    facts, made = msgspec.msgpack.decode(
        base64.b64decode(ended.stdout.rpartition("made ")[2].strip())
    )
    return (
        msgspec.convert(facts, EngineFacts, dec_hook=lambda kind, value: kind(value)),
        [
            [
                msgspec.convert(each, Encoding if isinstance(each, dict) else Failed)
                for each in batch
            ]
            for batch in made
        ],
    )


@dataclass
class Seeing:
    """A tiny model, its engine, and what an encoder and a processor made of its pictures."""

    model: Path
    engine: Any
    make_request: Callable[..., Generate]
    pads: int
    encoder: tuple[EngineFacts, list[list[Made]]]

    @cached_property
    def processor(self) -> tuple[EngineFacts, list[list[Made]]]:
        return encode("processor", self.model)

    def made(self, name: str, kind: str = "encoder") -> Encoding:
        _, batches = self.encoder if kind == "encoder" else self.processor
        found = batches[0][0 if name == "red" else 2]
        assert isinstance(found, Encoding)
        return found

    def ask(self, *parts: int | str, kind: str = "raw", salt: str | None = None) -> Generate:
        """A prompt of so many tokens of text, and of pictures by name, between them.

        Args:
            kind: what encoded the pictures; raw, and they are sent as they are.
        """
        ids: list[int] = []
        media: list[PromptMedia] = []
        for part in parts:
            if isinstance(part, int):
                ids += [65 + at % 26 for at in range(part)]
                continue
            one, count = medium(PICTURES[part]), self.made(part).rows
            one = replace(one, at=len(ids) + 1, tokens=count)
            ids += [self.pads - 2, *[self.pads] * count, self.pads - 1]
            if kind in KINDS:
                one = replace(one, data=b"", encoding=self.made(part, kind))
            media.append(one)
        request = self.make_request(
            ids, request_id=uuid4().hex, max_new_tokens=NEW, ignore_eos=True
        )
        return replace(request, media=media, cache_salt=salt)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each family."""
    folder = tmp_path_factory.mktemp("seeing")
    built = run_with_sglang(HERE / "tiny_vl.py", "build", folder)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder


@pytest.fixture(scope="module", params=FAMILIES)
def seeing(
    request: pytest.FixtureRequest,
    models: Path,
    start_engine: Callable[..., Any],
    make_request: Callable[..., Generate],
) -> Iterator[Seeing]:
    model = models / request.param
    engine = start_engine(
        "--model-path", str(model), "--dtype", "float32", "--log-level", "warning",
        "--max-total-tokens", "2048", "--grammar-backend", "none",
    )  # fmt: skip
    encoder = encode("encoder", model)
    pads = engine.facts.card.media.image_token_id
    yield Seeing(model, engine, make_request, pads, encoder)
    engine.close()


CHATS: Sequence[tuple[int | str, ...]] = (
    (40, "red", 10),
    (5, "blue", 3),
    (3, "red", "blue", 7),
    (3, "blue", 2, "red", 7),
    (3, "red", "red", 7),
)


KINDS = ("encoder", "processor")


def test_what_was_encoded_takes_the_place_of_pictures(seeing: Seeing, read: Any) -> None:
    """Cold, or the cache of what the engine itself encoded would answer."""
    answers = set[tuple[int, ...]]()
    for chat in CHATS:
        whole, *others = seeing.engine.run(
            seeing.ask(*chat), *(seeing.ask(*chat, kind=kind, salt=kind) for kind in KINDS)
        )
        for deltas in others:
            assert read.tokens(deltas) == read.tokens(whole)
            assert read.finish(deltas).prompt_tokens == read.finish(whole).prompt_tokens
            assert read.finish(deltas).cached_tokens == 0
        answers.add(tuple(read.tokens(whole)))
    assert len(answers) == len(CHATS)  # or nothing would be proven


def test_a_batch_may_hold_texts_pictures_and_what_was_encoded(seeing: Seeing, read: Any) -> None:
    text = seeing.ask(30, salt="text")
    alone = {chat: read.tokens(seeing.engine.run(seeing.ask(*chat))[0]) for chat in CHATS}
    written = read.tokens(seeing.engine.run(text)[0])
    asked = {
        (chat, kind, salt): seeing.ask(*chat, kind=kind, salt=kind + salt)
        for salt in "ab"
        for chat in CHATS[1:4]
        for kind in ("raw", *KINDS)
    }
    texts = [replace(text, request_id=uuid4().hex, cache_salt=salt) for salt in "ab"]
    deltas = seeing.engine.run(texts[0], *asked.values(), texts[1])
    for (chat, _, _), answer in zip(asked, deltas[1:-1], strict=True):
        assert read.tokens(answer) == alone[chat]
    assert [read.tokens(deltas[0]), read.tokens(deltas[-1])] == [written, written]


def test_the_cache_knows_a_picture_whoever_encoded_it(seeing: Seeing, read: Any) -> None:
    chat = (20, "blue", 4, "red", 30)
    kinds = ("raw", *KINDS)
    for first in kinds:
        cold, *warm = (
            seeing.engine.run(seeing.ask(*chat, kind=kind, salt=f"known {first}"))[0]
            for kind in (first, *kinds)
        )
        assert read.finish(cold).cached_tokens == 0
        prompt = read.finish(cold).prompt_tokens
        for deltas in warm:
            # the last token is always computed, and what is cached is whole pages of 16
            assert read.finish(deltas).cached_tokens == (prompt - 1) // 16 * 16
            assert read.tokens(deltas) == read.tokens(cold)


def test_what_is_wrong_with_one_picture_is_no_others_failure(seeing: Seeing) -> None:
    for kind in KINDS:
        _, ((red, damaged, blue), (again, miscounted, twice)) = (
            seeing.encoder if kind == "encoder" else seeing.processor
        )
        message = "The image cannot be decoded: it is damaged."
        assert damaged == Failed(InvalidRequest.code, message, "here")
        assert isinstance(miscounted, Failed)
        assert miscounted.code == EngineFault.code
        made = [red, again, twice, blue]
        assert all(isinstance(each, Encoding) for each in made)
        assert {each.grid for each in made[:3]} == {red.grid}
        for each in made[1:3]:
            numbers = [memoryview(one.data).cast("f") for one in (red, each)]
            assert max(abs(a - b) for a, b in zip(*numbers, strict=True)) < 1e-3
        tokens = [each.patches // PATCHES_A_TOKEN for each in made]
        assert [each.rows for each in made] == (
            tokens if kind == "encoder" else [each.patches for each in made]
        )


def test_a_fleet_knows_whose_vectors_fit(seeing: Seeing) -> None:
    card = seeing.engine.facts.card
    assert seeing.processor[0].card.digest == card.digest
    encoders = seeing.encoder[0].card
    assert (encoders.name, encoders.files) == (card.name, card.files)
    assert encoders.media is not None
    assert encoders.media.encoder == card.media.encoder != ""
    assert encoders.media.counts_images
    assert encoders.media.image_token_id == card.media.image_token_id


def spoilt(encoding: Encoding) -> Iterator[Encoding]:
    """Encodings that no longer fit."""
    frames, rows, columns = encoding.grid
    row = encoding.data[: len(encoding.data) // encoding.rows]
    yield replace(encoding, data=encoding.data + row)
    yield replace(encoding, data=encoding.data[: -len(row)])
    yield replace(encoding, data=encoding.data[:-1])
    yield replace(encoding, data=b"")
    yield replace(encoding, columns=2 * encoding.columns)
    yield replace(encoding, columns=encoding.columns // 2, data=encoding.data[::2])
    yield replace(encoding, grid=(frames, rows + 2, columns))
    yield replace(encoding, dtype="float16")
    yield replace(encoding, holds="grid", data=b"")  # this engine computes its prompts itself


def test_what_does_not_fit_is_refused_and_the_engine_serves_on(seeing: Seeing, read: Any) -> None:
    asked: list[Generate] = []
    for kind in KINDS:
        whole = seeing.ask(3, "red", 4, "blue", 2, kind=kind, salt="unfit")
        first, second = whole.media
        assert first.encoding is not None
        asked += [
            replace(whole, media=[replace(first, encoding=encoding), second])
            for encoding in spoilt(first.encoding)
        ]
        swapped = replace(first, encoding=second.encoding)
        others: list[list[PromptMedia]] = [
            [swapped, second],
            [first, replace(second, at=second.at - 1)],
            [first, replace(second, at=1_000)],
            [first, replace(second, tokens=second.tokens - 1)],
            [second, first],
            [first, replace(second, data=b"x")],
            [first, replace(second, encoding=None, data=PICTURES["blue"])],
            [replace(first, modality="video"), second],
        ]
        asked += [replace(whole, media=media) for media in others]
    mixed = seeing.ask(3, "red", 4, "blue", 2, kind="encoder").media[1]
    asked.append(replace(whole, media=[whole.media[0], mixed]))
    asked = [replace(each, request_id=uuid4().hex) for each in asked]
    for deltas in seeing.engine.run(*asked):
        assert read.failure(deltas).code == EngineFault.code, deltas
    [served] = seeing.engine.run(seeing.ask(3, "red", 4, kind="encoder", salt="after"))
    assert len(read.tokens(served)) == NEW


def test_who_cannot_encode_says_why(model_dir: Path, tmp_path: Path) -> None:
    config = {"architectures": ["LlavaForConditionalGeneration"], "vision_config": {}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for argv, why in (
        ((model_dir,), f"{model_dir} sees no pictures: there is nothing to encode"),
        (
            (tmp_path,),
            f"{tmp_path} cannot have its pictures encoded apart: kvmesh knows how for Qwen-VL",
        ),
        (
            (model_dir, "--tp-size", "2"),
            "--tp-size is not for an encoder, which runs on one device: start several workers",
        ),
    ):
        program = (HERE / "encoder_process.py", "encoder", "--model-path", *argv)
        ended = run_with_sglang(*program, given=given([]))
        assert ended.stderr.splitlines()[-1].startswith(f"StartError: {why}")


def test_a_decode_leg_needs_no_more_of_pictures_than_their_grids(
    models: Path,
    start_engine: Callable[..., Any],
    make_request: Callable[..., Generate],
    read: Any,
) -> None:
    model = models / "qwen2.5-vl"
    engine = start_engine(
        *("--model-path", str(model), "--dtype", "float32", "--log-level", "warning"),
        *("--max-total-tokens", "2048", "--grammar-backend", "none"),
        *("--disaggregation-mode", "decode", "--disaggregation-transfer-backend", "fake"),
        *("--disaggregation-decode-retraction-backup", "none"),
    )
    pad = engine.facts.card.media.image_token_id
    ids = [65, pad - 2, *[pad] * 6, pad - 1, pad - 2, *[pad] * 20, pad - 1, 66]
    media = [
        replace(RED, data=b"", at=2, tokens=6, encoding=Encoding("grid", (1, 4, 6))),
        replace(BLUE, data=b"", at=10, tokens=20, encoding=Encoding("grid", (1, 8, 10))),
    ]
    legs = [
        replace(
            make_request(ids, request_id=uuid4().hex, max_new_tokens=NEW, ignore_eos=True),
            bootstrap=Bootstrap(FAKE_BOOTSTRAP_HOST, 1, 7 + number),
            media=media[:number],
        )
        for number in (0, 2)
    ]
    for deltas in engine.run(*legs):
        assert len(read.tokens(deltas)) == NEW
    engine.close()
