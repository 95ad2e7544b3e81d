"""Pictures and videos made by real SGLang: tiny models of random weights, in its own pipelines."""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio
from PIL import Image

from protocol.diffusion import Diffuse
from protocol.errors import InvalidRequest, UnsupportedParameter, WorkerLost
from tests.fleet.pictures import picture
from tests.kit.forks import run_with_sglang
from tests.kit.videos_told import told_by_ffmpeg
from workers.diffusion.generator import Made, Step
from workers.sglang.diffusion import kept_process
from workers.sglang.diffusion.generator import SglangGenerator

pytestmark = [
    pytest.mark.sglang,
    pytest.mark.timeout(500),
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(find_spec("diffusers") is None, reason="SGLang's part is not installed"),
]

HERE = Path(__file__).parent
MANY_STEPS = 1_000


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("diffusion")
    done = run_with_sglang(HERE / "tiny_diffusion.py", folder, "flux", "wan")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@asynccontextmanager
async def started(*argv: Any, videos: bool) -> AsyncIterator[SglangGenerator]:
    deaths: list[str] = []
    words = [str(word) for word in argv]
    generator = await asyncio.to_thread(SglangGenerator.from_argv, words, videos=videos)
    others = set(psutil.Process().children(recursive=True))
    await generator.start(deaths.append)
    yield generator
    await generator.stop()
    assert deaths == []
    left = set(psutil.Process().children(recursive=True)) - others
    assert not [one for one in left if "diffusion" in title(one)]


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def ranks() -> list[psutil.Process]:
    """SGLang's own processes of this one's generators."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if "sgl_diffusion" in title(child)]


def listens(at: Any) -> bool:
    return at.status == "LISTEN"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def flux(models: Path) -> AsyncIterator[SglangGenerator]:
    argv = ("--model-path", models / "flux", "--model-id", "FLUX.1-dev")
    async with started(*argv, "--served-model-name", "tiny,small", videos=False) as generator:
        yield generator


class Maker:
    """Makes orders in folders of their own."""

    def __init__(self, tmp_path: Path) -> None:
        self.steps: list[Step] = []
        self.begun = asyncio.Event()
        self.freed = asyncio.Event()
        self.into = tmp_path

    async def make(self, generator: SglangGenerator, **asked: Any) -> Sequence[Made]:
        self.steps.clear()
        order = {
            "request_id": "a" * 32, "model": "m", "prompt": "a cat", "deadline_unix_ms": 1,
            "width": 64, "height": 64, "steps": 4, "seed": 1, **asked,
        }  # fmt: skip
        return await generator.make(Diffuse(**order), self.into, self._note, self.freed.set)

    async def pixels(self, generator: SglangGenerator, **asked: Any) -> list[bytes]:
        found: list[bytes] = []
        for made in await self.make(generator, **asked):
            with Image.open(made.path) as opened:
                found.append(opened.convert("RGB").tobytes())
        return found

    async def leave(self, generator: SglangGenerator, **asked: Any) -> None:
        """Go away from an order at one of its first steps."""
        self.begun.clear()
        order = asyncio.ensure_future(self.make(generator, steps=MANY_STEPS, **asked))
        await self.begun.wait()
        order.cancel()
        with pytest.raises(asyncio.CancelledError):
            await order
        assert self.steps[-1].step < MANY_STEPS

    def _note(self, step: Step) -> None:
        self.steps.append(step)
        self.begun.set()


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


async def test_a_seed_makes_its_picture_and_each_output_has_its_own(
    flux: SglangGenerator, maker: Maker
) -> None:
    (first,) = await maker.make(flux)
    assert first.path.parent == maker.into
    assert (first.format, first.width, first.height, first.seed) == ("png", 64, 64, 1)
    assert maker.steps[-1] == Step(step=4, steps=4)
    (one,) = await maker.pixels(flux)
    again, two, three = await maker.pixels(flux, count=3)
    assert maker.steps[-1] == Step(step=12, steps=12, index=2)
    assert one == again
    assert len({one, two, three}) == 3
    assert [two] == await maker.pixels(flux, seed=2)
    assert [one] != await maker.pixels(flux, prompt="a dog")


async def test_what_an_order_says_is_done(flux: SglangGenerator, maker: Maker) -> None:
    (plain,) = await maker.pixels(flux)
    (guided,) = await maker.pixels(flux, guidance_scale=1.5)
    (against,) = await maker.pixels(flux, negative_prompt="a dog")
    assert len({plain, guided, against}) == 3
    (drawn,) = await maker.make(flux, seed=None, format="jpeg", compression=50, width=96)
    assert drawn.seed is not None
    with Image.open(drawn.path) as opened:
        assert (opened.format, opened.size) == ("JPEG", (96, 64))
    (again,) = await maker.make(flux, seed=drawn.seed, format="webp", width=96)
    with Image.open(again.path) as opened:
        assert opened.format == "WEBP"


async def test_previews_show_what_the_model_makes_of_the_noise(
    flux: SglangGenerator, maker: Maker
) -> None:
    await maker.make(flux, steps=8, previews=3, count=2)
    shown = [step for step in maker.steps if step.preview is not None]
    assert [(step.index, step.step) for step in shown] == [
        (0, 2), (0, 4), (0, 6), (1, 10), (1, 12), (1, 14)
    ]  # fmt: skip
    for step in shown:
        assert step.preview is not None
        with Image.open(step.preview.path) as opened:
            assert opened.size == (64, 64)


@pytest.mark.parametrize(
    ("asked", "kind", "param"),
    [
        ({"width": 70}, InvalidRequest, "width"),
        ({"height": 1000}, InvalidRequest, "height"),
        ({"mask": b"x"}, UnsupportedParameter, "mask"),
        ({"frames": 9}, UnsupportedParameter, "frames"),
        ({"format": "mp4"}, InvalidRequest, "format"),
        ({"guidance_scale": -1.0}, InvalidRequest, "guidance_scale"),
        ({"negative_prompt": "x", "guidance_scale": 1.0}, UnsupportedParameter, "negative_prompt"),
        (
            {"references": [picture("red")], "reference_params": ["image[0]"]},
            UnsupportedParameter,
            "image[0]",
        ),
        ({"references": [b"\x89PNG"], "reference_params": ["image"]}, InvalidRequest, "image"),
    ],
)
async def test_what_the_model_cannot_do_is_refused_by_name(
    flux: SglangGenerator, maker: Maker, asked: Any, kind: type[InvalidRequest], param: str
) -> None:
    with pytest.raises(kind) as refused:
        await maker.make(flux, **asked)
    assert refused.value.param == param
    assert "\n" not in str(refused.value)
    assert list(maker.into.iterdir()) == []


async def test_an_order_is_left_at_its_next_step_and_the_next_one_is_as_ever(
    flux: SglangGenerator, maker: Maker
) -> None:
    (before,) = await maker.pixels(flux)
    pids = [rank.pid for rank in ranks()]
    await maker.leave(flux)
    assert [before] == await maker.pixels(flux)
    assert [rank.pid for rank in ranks()] == pids  # nothing was replaced


async def test_a_killed_rank_fails_its_order_and_comes_back(
    flux: SglangGenerator, maker: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # it comes back however long a busy machine's imports take: a client's patience is shorter
    monkeypatch.setattr(kept_process, "READY_S_MAX", 400.0)
    (before,) = await maker.pixels(flux)
    maker.begun.clear()
    order = asyncio.ensure_future(maker.make(flux, steps=MANY_STEPS))
    await maker.begun.wait()
    (rank,) = ranks()
    rank.kill()
    with pytest.raises(WorkerLost, match="killed by signal 9"):
        await order
    await flux.ready()
    assert [before] == await maker.pixels(flux)


async def test_two_ranks_make_videos_that_play_and_leave_them_together(
    models: Path, maker: Maker
) -> None:
    argv = ("--model-path", models / "wan", "--tp-size", 2)
    async with started(*argv, videos=True) as wan:
        (made,) = await maker.make(wan, format="mp4", frames=7, fps=8)
        assert (made.format, made.frames, made.fps, made.width) == ("mp4", 9, 8.0, 64)
        assert maker.steps[-1] == Step(step=4, steps=4)
        assert told_by_ffmpeg(made.path) == ("h264", "yuv420p", 64, 64, 9)
        first = made.path.read_bytes()
        await maker.leave(wan, format="mp4", frames=9, fps=8)
        for rank in ranks():
            rank.send_signal(signal.SIGTERM)  # as to all of a unit: what runs is finished
        same, other = await maker.make(wan, format="mp4", seconds=0.5, fps=16, count=2)
        assert (same.frames, same.seed, other.seed) == (9, 1, 2)
        again = await maker.make(wan, format="mp4", frames=9, fps=8)
        assert [made.path.read_bytes() for made in again] == [first]
        assert first != other.path.read_bytes()
        heard = {at.laddr.ip for rank in ranks() for at in rank.net_connections() if listens(at)}
        assert heard <= {"127.0.0.1"}  # nobody else reaches what SGLang listens on
