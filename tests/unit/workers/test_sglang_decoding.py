"""Videos and sounds are decoded in a process of their own, which may crash, without SGLang."""

import io
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from protocol.errors import InvalidRequest
from protocol.media import MediaTaken, PromptMedia
from tests.fleet.pictures import picture
from tests.fleet.sounds import sound
from tests.fleet.videos import video
from workers.sglang import media
from workers.sglang.decoding import process as process_module
from workers.sglang.decoding.bounds import DECODED_PIXELS_MAX, SOUND_S_MAX
from workers.sglang.decoding.messages import Found
from workers.sglang.decoding.process import DecodingProcess, UnreadableMedium

pytest.importorskip("decord", reason="SGLang's part is not installed")
soundfile = pytest.importorskip("soundfile", reason="SGLang's part is not installed")
RED = video("red.mp4")
SOUND = sound(440)


@pytest.fixture(scope="module")
def decoder() -> Iterator[DecodingProcess]:
    decoder = DecodingProcess()
    yield decoder
    decoder.close()
    decoder._kill()  # and its pipes


def test_a_video_is_looked_at_and_its_frames_come_as_asked(decoder: DecodingProcess) -> None:
    found = decoder.look(RED)
    assert found == Found(8, 4.0, 56, 84)
    frames = decoder.frames(RED, [5, 0, 5], found)
    assert frames.shape == (3, 56, 84, 3)
    assert (frames[0] == frames[2]).all()
    assert not (frames[0] == frames[1]).all()
    red, green, blue = (int(frames[0, 50, 80, at]) for at in range(3))
    assert red > 180 > 60 > max(green, blue)
    assert decoder.look(video("green.webm")).frames == 8


@pytest.mark.parametrize(
    "data", [RED[:700], b"\0\0\0\x20ftypisom" + bytes(500), picture("red"), b"\x1a\x45\xdf\xa3"]
)
def test_what_is_no_video_is_refused_and_the_process_goes_on(
    decoder: DecodingProcess, data: bytes
) -> None:
    with pytest.raises(UnreadableMedium, match="damaged") as raised:
        decoder.look(data)
    assert raised.value.data is data
    assert decoder.look(RED).frames == 8


def test_more_frames_than_memory_should_hold_are_refused_before_they_are_decoded(
    decoder: DecodingProcess,
) -> None:
    bomb = video("bomb.mp4")
    found = decoder.look(bomb)
    too_many = range(DECODED_PIXELS_MAX // found.pixels + 1)
    assert len(too_many) < found.frames
    with pytest.raises(UnreadableMedium, match="too large: 136 frames of 2560 x 2048"):
        decoder.frames(bomb, too_many, found)


def test_one_that_ends_on_a_video_is_followed_by_another(decoder: DecodingProcess) -> None:
    decoder.look(RED)
    first = decoder._popen
    assert first is not None
    first.send_signal(signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(decoder.look, RED)
        first.kill()
        error = looking.exception()
    assert error is None or isinstance(error, UnreadableMedium)  # it may be dead before it is asked
    assert decoder.look(RED).frames == 8
    assert decoder._popen is not first


def test_one_that_takes_too_long_ends_by_itself(decoder: DecodingProcess) -> None:
    decoder.look(RED)
    process = decoder._popen
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    process.send_signal(signal.SIGALRM)  # as its alarm does
    with ThreadPoolExecutor(1) as pool:
        looking = pool.submit(decoder.look, RED)
        process.send_signal(signal.SIGCONT)
        error = looking.exception()
    assert error is None or str(error).endswith(("too long.", "too large."))
    assert decoder.look(RED).frames == 8


def test_none_is_started_once_it_is_closed() -> None:
    closed = DecodingProcess()
    closed.close()
    with pytest.raises(RuntimeError, match="stops"):
        closed.look(RED)


def test_one_that_was_idle_for_long_is_not_asked(
    decoder: DecodingProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends by itself about then, which would be taken for the video's doing."""
    decoder.look(RED)
    first = decoder._popen
    monkeypatch.setattr(process_module, "IDLE_S_MAX", -1.0)
    decoder.look(RED)
    assert decoder._popen is not first


@pytest.mark.parametrize(("videos", "sounds"), [(True, True), (False, True), (True, False)])
def test_what_cannot_be_decoded_here_is_not_taken(
    monkeypatch: pytest.MonkeyPatch, videos: bool, sounds: bool
) -> None:
    there = SimpleNamespace(reads_videos=lambda: videos, reads_sounds=lambda: sounds)
    monkeypatch.setitem(sys.modules, "workers.sglang.seam.videos", there)
    taken = media._readable(MediaTaken(1, 2, 3))
    assert taken == MediaTaken(1, 2 if videos else None, 3 if sounds else None)


def caused_by(cause: Exception) -> Exception:
    error = RuntimeError("An exception occurred while loading AUDIO data at index 1")
    error.__context__ = ValueError("Error while loading data")
    error.__context__.__cause__ = cause
    return error


def item(modality: Any, data: bytes, param: str) -> PromptMedia:
    return PromptMedia(modality, data, 1, param=param)


@pytest.mark.parametrize(
    ("error", "param"),
    [
        (UnreadableMedium(RED, "It is damaged."), "b"),
        (caused_by(UnreadableMedium(SOUND, "It is damaged.")), "d"),
        (caused_by(UnreadableMedium(b"another", "It is damaged.")), None),
        (RuntimeError("out of memory"), None),
        (ValueError("the prompt is too long"), None),
    ],
)
async def test_the_medium_that_failed_is_named(error: Exception, param: str | None) -> None:
    items = [
        item("image", picture("red"), "a"),
        item("video", RED, "b"),
        item("audio", b"", "c"),
        item("audio", SOUND, "d"),
    ]
    if param is None:
        await media.name_damaged(items, error)  # so that the error goes on as it is
        return
    with pytest.raises(InvalidRequest) as raised:
        await media.name_damaged(items, error)
    assert raised.value.param == param


def test_a_sound_comes_at_the_rate_that_is_asked_for(decoder: DecodingProcess) -> None:
    same = decoder.sound(SOUND, 16_000)
    assert (same.dtype, len(same)) == (np.float32, 6_400)
    other = decoder.sound(sound(440, rate=44_100, channels=2), 16_000)
    assert len(other) == 6_400
    inner = slice(200, -200)  # but for its ends, a tone is the same at both rates
    assert np.abs(same[inner] - other[inner]).max() < 1e-3


def test_silence_of_days_in_a_few_bytes_is_refused(decoder: DecodingProcess) -> None:
    """A header that says so is believed by none; here it is true."""
    file = io.BytesIO()
    soundfile.write(file, np.zeros(SOUND_S_MAX * 1_000 + 1_000, np.int16), 1_000, format="FLAC")
    assert len(file.getvalue()) < 100_000
    with pytest.raises(UnreadableMedium, match="at most 1800 seconds"):
        decoder.sound(file.getvalue(), 16_000)


@pytest.mark.parametrize("data", [SOUND[:30], b"RIFF\0\0\0\0WAVE" + b"x" * 50, picture("red")])
def test_what_is_no_sound_is_refused(decoder: DecodingProcess, data: bytes) -> None:
    with pytest.raises(UnreadableMedium, match="The audio cannot be decoded: it is damaged"):
        decoder.sound(data, 16_000)
