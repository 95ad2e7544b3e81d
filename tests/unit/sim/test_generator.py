"""The simulated generator draws what follows from prompt and seed, and fails as it is told."""

import asyncio
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from protocol.diffusion import Diffuse
from protocol.errors import EngineFault, InvalidRequest, Overloaded, WorkerLost
from protocol.process.start_error import StartError
from tests.unit.encoding.encoder_bench import on_virtual_time
from workers.diffusion.generator import Made, Step
from workers.sim.faults import Faults
from workers.sim.generator import SimGenerator
from workers.sim.settings import SimSettings


class _Crashed(Exception):
    pass


def _crash() -> None:
    raise _Crashed


async def _generator(*, videos: bool = False, **settings: Any) -> SimGenerator:
    generator = SimGenerator(
        SimSettings(**settings), videos=videos, faults=Faults(crash=_crash, block=_crash)
    )
    await generator.start(lambda _: None)
    return generator


async def _make(
    generator: SimGenerator,
    into: Path,
    on_step: Callable[[Step], None] = lambda _: None,
    **fields: Any,
) -> list[Made]:
    usual: dict[str, Any] = {"width": 64, "height": 48, "steps": 4, "seed": 7}
    order = Diffuse("1" * 32, "m", fields.pop("prompt", "a boat"), 0, **(usual | fields))
    return [*await generator.make(order, into, on_step, lambda: None)]


async def _bytes(made: Made) -> bytes:
    return await asyncio.to_thread(made.path.read_bytes)


@on_virtual_time
async def test_pictures_follow_from_prompt_and_seed(tmp_path: Path) -> None:
    generator = await _generator()
    first = [await _bytes(each) for each in await _make(generator, tmp_path, count=3)]
    again = [await _bytes(each) for each in await _make(generator, tmp_path, count=3)]
    assert first == again
    assert len(set(first)) == 3
    [second] = await _make(generator, tmp_path, seed=8)
    assert await _bytes(second) == first[1]
    [other] = await _make(generator, tmp_path, prompt="a house")
    assert await _bytes(other) not in first
    [drawn] = await _make(generator, tmp_path, seed=None)
    assert drawn.seed is not None


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_pictures_are_files_of_their_form(form: str, tmp_path: Path) -> None:
    _formed(form, tmp_path)


@on_virtual_time
async def _formed(form: str, tmp_path: Path) -> None:
    generator = await _generator()
    [made] = await _make(generator, tmp_path, format=form, compression=50)
    with Image.open(io.BytesIO(await _bytes(made))) as picture:
        assert ((picture.format or "").lower(), picture.size) == (form, (64, 48))


@on_virtual_time
async def test_previews_are_the_same_picture_earlier(tmp_path: Path) -> None:
    generator, steps = await _generator(), list[Step]()
    [made] = await _make(generator, tmp_path, steps.append, previews=3, steps=8)
    assert [step.step for step in steps] == list(range(1, 9))
    shown = [step.preview for step in steps if step.preview is not None]
    assert len(shown) == 3
    away = [_distance(await _bytes(each), await _bytes(made)) for each in shown]
    assert away == sorted(away, reverse=True)
    assert away[-1] > 0


@on_virtual_time
async def test_steps_take_their_time(tmp_path: Path) -> None:
    generator = await _generator(sim_step_ms=100.0, sim_speedup=2.0)
    begun_at = asyncio.get_running_loop().time()
    await _make(generator, tmp_path, width=1_000, height=2_000, steps=10, count=2)
    assert asyncio.get_running_loop().time() - begun_at == pytest.approx(2.0)


@on_virtual_time
async def test_a_picture_is_changed_or_refused_by_its_field(tmp_path: Path) -> None:
    generator = await _generator()
    blue = io.BytesIO()
    Image.new("RGB", (10, 10), (0, 0, 255)).save(blue, "png")
    [plain] = await _make(generator, tmp_path)
    before = await _bytes(plain)
    [changed] = await _make(generator, tmp_path, references=[blue.getvalue()])
    assert await _bytes(changed) != before
    with pytest.raises(InvalidRequest) as caught:
        await _make(generator, tmp_path, references=[b"none"], reference_params=["image[0]"])
    assert caught.value.param == "image[0]"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"width": 5_000}, "width"),
        ({"height": 5_000}, "height"),
        ({"format": "mp4"}, "model"),
    ],
)
def test_what_no_model_makes_is_refused(fields: dict[str, Any], param: str, tmp_path: Path) -> None:
    _refused(fields, param, tmp_path)


@on_virtual_time
async def _refused(fields: dict[str, Any], param: str, tmp_path: Path) -> None:
    generator = await _generator()
    with pytest.raises(InvalidRequest) as caught:
        await _make(generator, tmp_path, **fields)
    assert caught.value.param == param


@on_virtual_time
async def test_a_video_has_the_frames_that_were_asked_for(tmp_path: Path) -> None:
    generator = await _generator(videos=True)
    [made] = await _make(generator, tmp_path, format="mp4", seconds=1.5, fps=6)
    assert (made.frames, made.fps) == (9, 6.0)
    content = await _bytes(made)
    assert content[4:8] == b"ftyp"
    assert content.count(b"\xff\xd8\xff") == 9
    with pytest.raises(InvalidRequest):
        await _make(generator, tmp_path, format="mp4", width=4_096, height=4_096, frames=60)
    [usual] = await _make(generator, tmp_path, format="mp4", width=0, height=0, fps=0)
    assert (usual.width, usual.frames) == (256, 16)


def test_a_video_is_read_by_others(tmp_path: Path) -> None:
    ffmpeg = pytest.importorskip("imageio_ffmpeg")
    path = _video(tmp_path)
    count, seconds = ffmpeg.count_frames_and_secs(str(path))
    assert (count, round(seconds, 1)) == (12, 2.0)


def _video(tmp_path: Path) -> Path:
    async def make() -> Path:
        generator = await _generator(videos=True, sim_speedup=0.0)
        [made] = await _make(generator, tmp_path, format="mp4", frames=12, fps=6)
        return made.path

    return asyncio.run(make())


@on_virtual_time
async def test_faults_befall_orders(tmp_path: Path) -> None:
    generator = await _generator(sim_startup_s=5.0)
    generator.fault("error-every=2")
    await _make(generator, tmp_path)
    with pytest.raises(EngineFault):
        await _make(generator, tmp_path)
    generator.fault("clear")
    generator.fault("refuse")
    with pytest.raises(Overloaded):
        await _make(generator, tmp_path)
    generator.fault("clear")
    generator.fault("crash-after-tokens=2")
    with pytest.raises(_Crashed):
        await _make(generator, tmp_path)
    generator.fault("clear")
    generator.fault("engine-death-after-tokens=2")
    with pytest.raises(WorkerLost):
        await _make(generator, tmp_path)
    died_at = asyncio.get_running_loop().time()
    await generator.ready()
    assert asyncio.get_running_loop().time() - died_at == pytest.approx(5.0)
    assert len(await _make(generator, tmp_path)) == 1


@on_virtual_time
async def test_it_hangs_until_it_is_thawed(tmp_path: Path) -> None:
    generator, steps = await _generator(), list[Step]()
    generator.fault("hang-after-tokens=2")
    making = asyncio.ensure_future(_make(generator, tmp_path, steps.append))
    await asyncio.sleep(10.0)
    assert len(steps) == 2
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10.0):
            await generator.ready()
    generator.fault("clear")
    assert len(await making) == 1


@on_virtual_time
async def test_a_seed_asks_for_a_fault_where_that_is_allowed(tmp_path: Path) -> None:
    generator = await _generator(sim_request_faults=True)
    with pytest.raises(EngineFault):
        await _make(generator, tmp_path, seed=770_001)
    with pytest.raises(_Crashed):
        await _make(generator, tmp_path, seed=770_002)
    with pytest.raises(WorkerLost):
        await _make(generator, tmp_path, seed=770_005)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(10.0):
            await _make(generator, tmp_path, seed=770_003)
    assert len(await _make(await _generator(), tmp_path, seed=770_001)) == 1


@on_virtual_time
async def test_it_does_not_start_where_it_is_told_so() -> None:
    with pytest.raises(StartError):
        await _generator(sim_fault=("start-error",))


def _distance(one: bytes, other: bytes) -> int:
    with Image.open(io.BytesIO(one)) as first, Image.open(io.BytesIO(other)) as second:
        pairs = zip(first.tobytes(), second.tobytes(), strict=True)
        return sum(abs(a - b) for a, b in pairs)
