"""The kinds of worker: what chooses one, and what each has to bring."""

import subprocess
import sys
from dataclasses import replace

import pytest

from protocol.diffusion import Diffuse
from protocol.encoding import Encode
from protocol.membership import Capacity, ModelCard
from protocol.process.start_error import StartError
from workers.engine import EngineFacts
from workers.health.canary import CanaryFields
from workers.kinds.arguments import Arguments
from workers.kinds.embedding import EMBEDDING
from workers.kinds.encode import ENCODE
from workers.kinds.image_diffusion import IMAGE_DIFFUSION
from workers.kinds.kind import Serving, WorkerKind
from workers.kinds.multimodal import MULTIMODAL, MULTIMODAL_PREFILL
from workers.kinds.prefill import PREFILL
from workers.kinds.processor import PROCESSOR
from workers.kinds.registry import KINDS, kind_for
from workers.kinds.text import TEXT
from workers.kinds.text_diffusion import TEXT_DIFFUSION
from workers.kinds.video_generation import VIDEO_GENERATION
from workers.settings import WorkerSettings

SERVING = list(dict.fromkeys(kind.serving for kind in KINDS if kind.serving is not None))


def _facts(*, generates: bool = True) -> EngineFacts:
    card = ModelCard(name="m", context_length=100, vocab_size=50, eos_token_ids=[], files=[])
    capacity = Capacity(dp_size=2, page_size_tokens=16, kv_tokens=1_000, requests_running_max=4)
    return EngineFacts(
        card=card, card_files={}, capacity=capacity, version="none", generates=generates
    )


def _kind(*argv: str, **settings: bool) -> WorkerKind:
    return kind_for(Arguments(WorkerSettings(**settings), argv))


@pytest.mark.parametrize(
    ("argv", "kind"),
    [
        ((), TEXT),
        (("--tp", "2", "--model-path", "x"), TEXT),
        (("--is-embedding",), EMBEDDING),
        (("--nnodes", "2", "--node-rank", "0"), TEXT),
        (("--disaggregation-mode", "prefill"), PREFILL),
        (("--dllm-algorithm", "LowConfidence"), TEXT_DIFFUSION),
    ],
)
def test_arguments_choose_a_kind(argv: tuple[str, ...], kind: WorkerKind) -> None:
    assert _kind(*argv) is kind


@pytest.mark.parametrize(
    ("setting", "kind"),
    [
        ("embedding_worker", EMBEDDING),
        ("multimodal_processor", PROCESSOR),
        ("multimodal_encode_worker", ENCODE),
        ("multimodal_worker", MULTIMODAL),
        ("image_diffusion_worker", IMAGE_DIFFUSION),
        ("video_generation_worker", VIDEO_GENERATION),
    ],
)
def test_a_setting_of_the_worker_chooses_too(setting: str, kind: WorkerKind) -> None:
    assert _kind(**{setting: True}) is kind


@pytest.mark.parametrize(
    ("mode", "settings", "kind"),
    [
        ("prefill", ("multimodal_worker",), MULTIMODAL_PREFILL),
        ("decode", ("multimodal_worker",), MULTIMODAL),
        ("encode", ("enable_multimodal",), ENCODE),
        ("pd", ("enable_multimodal", "dedicated_mm_encoder"), MULTIMODAL),
        ("prefill", ("enable_multimodal", "dedicated_mm_encoder"), MULTIMODAL_PREFILL),
        ("decode", ("enable_multimodal", "dedicated_mm_encoder"), MULTIMODAL),
        ("null", ("enable_multimodal",), TEXT),
    ],
)
def test_both_generations_of_flags_choose(
    mode: str, settings: tuple[str, ...], kind: WorkerKind
) -> None:
    assert _kind("--disaggregation-mode", mode, **dict.fromkeys(settings, True)) is kind


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("multimodal_worker", "multimodal_encode_worker"), "exclude each other"),
        (("embedding_worker", "multimodal_processor"), "exclude each other"),
        (("dedicated_mm_encoder",), "goes with --enable-multimodal"),
    ],
)
def test_kinds_that_no_worker_can_be_of_are_a_start_error(
    settings: tuple[str, ...], told: str
) -> None:
    with pytest.raises(StartError, match=told):
        WorkerSettings(**dict.fromkeys(settings, True))


@pytest.mark.parametrize("argv", [("--node-rank", "1"), ("--nnodes=2", "--node-rank=1")])
def test_a_follower_runs_its_leaders_engine_and_serves_nothing(argv: tuple[str, ...]) -> None:
    for leader in (("--is-embedding",), ()):
        follower = _kind(*argv, *leader)
        assert (follower.name, follower.serving) == ("follower", None)
        assert follower.engines is _kind(*leader).engines


def test_an_engine_may_turn_out_to_make_vectors_though_nobody_said_so() -> None:
    assert TEXT.serving_of(_facts()) is TEXT.serving
    assert TEXT.serving_of(_facts(generates=False)) is EMBEDDING.serving
    made = TEXT.canaries(_facts(generates=False), CanaryFields())("i" * 32, 0)
    assert EMBEDDING.serving is not None
    assert isinstance(made, EMBEDDING.serving.takes)


@pytest.mark.parametrize(
    "serving", SERVING, ids=lambda serving: f"{serving.service}-{serving.stage}"
)
def test_a_kind_asks_its_engine_for_work_that_it_takes(serving: Serving) -> None:
    canary = serving.canaries(_facts(), CanaryFields())("i" * 32, 1)
    assert (canary.request_id, canary.routed_dp_rank) == ("i" * 32, 1)
    first = serving.first_work(_facts(), 64, 1)
    if not isinstance(first, Encode | Diffuse):
        assert (len(first.token_ids), first.routed_dp_rank) == (4 * 64, 1)
    assert isinstance(canary, serving.takes)
    assert isinstance(first, serving.takes)


def test_every_kind_has_names_of_its_own() -> None:
    # a worker that fetches encodings stands beside those that see for themselves
    endpoints = {(serving.endpoint, serving.fetches_encodings) for serving in SERVING}
    assert len(endpoints) == len(SERVING)
    for name, _ in endpoints:
        assert WorkerSettings(endpoint=name).endpoint == name
    assert len({kind.name for kind in KINDS}) == len(KINDS)


def test_an_engine_that_a_kind_does_not_run_on_is_a_start_error() -> None:
    arguments = Arguments(WorkerSettings(engine="sim"))
    only_real = replace(TEXT, name="toy", engines={"sglang": TEXT.engines["sglang"]})
    with pytest.raises(StartError, match="--engine sim runs no worker of the kind toy, only sgl"):
        only_real.engine(arguments)


def test_the_table_imports_no_engine() -> None:
    """SGLang brings torch, and a worker with one engine has no use for the other."""
    told = subprocess.run(
        [sys.executable, "-c", "import sys, workers.app; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert "workers.kinds.registry" in told
    assert not [
        name for name in told if name.startswith(("workers.sglang", "workers.sim", "torch"))
    ]
