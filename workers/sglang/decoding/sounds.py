"""Sounds are decoded, within the process that may crash, by what SGLang decodes them with."""

import io
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any, Final

import numpy as np

from workers.sglang.decoding.bounds import SOUND_S_MAX, SOUND_VALUES_MAX
from workers.sglang.decoding.messages import Refused

_ROWS: Final = 8_192
"""So many steps of a resampling are computed at once: with their overlaps they take 16 MB."""

_ZEROS: Final = 6
_ROLLOFF: Final = 0.99
"""Are torchaudio's: how many zeros of a sinc are kept to each side, and the share of the lower
rate's band that passes.
"""

SoundReader = Callable[[bytes, int], Any]


def sound_reader() -> SoundReader:
    """Returns what reads a sound at a rate, as one channel, f32 (SGLang's `load_audio`)."""
    try:
        import_module("torchcodec.decoders")
    except (ImportError, RuntimeError):
        return _with_soundfile
    return _with_torchcodec


def _with_torchcodec(data: bytes, rate: int) -> Any:
    torchcodec: Any = import_module("torchcodec.decoders")
    decoder = torchcodec.AudioDecoder(data, sample_rate=rate, num_channels=1)
    samples = decoder.get_samples_played_in_range(0, SOUND_S_MAX + 1).data.squeeze(0).numpy()
    return _bounded(samples, rate)


def _with_soundfile(data: bytes, rate: int) -> Any:
    """Reads what is there, since a file's header may speak of any length."""
    soundfile: Any = import_module("soundfile")
    with soundfile.SoundFile(io.BytesIO(data)) as file:
        given = int(file.samplerate)
        if not 0 < file.channels <= 8 or not 1_000 <= given <= 768_000:
            raise Refused("it has too many channels, or no usual rate.")
        if file.frames == 0:
            raise Refused("it is empty.")
        most = min(SOUND_S_MAX * given + 1, SOUND_VALUES_MAX // file.channels)
        pieces: list[Any] = []
        left = most
        while left and len(piece := file.read(min(left, given), "float32", always_2d=True)):
            pieces.append(piece.mean(axis=1))
            left -= len(piece)
    if not left or sum(map(len, pieces)) > SOUND_S_MAX * given:
        raise Refused(_too_long())
    return resampled(np.concatenate(pieces), given, rate)


def _bounded(samples: Any, rate: int) -> Any:
    if len(samples) > SOUND_S_MAX * rate:
        raise Refused(_too_long())
    return samples


def _too_long() -> str:
    return f"at most {SOUND_S_MAX} seconds are taken."


def resampled(samples: Any, given: int, wanted: int) -> Any:
    """Returns samples at another rate, by a windowed sinc: torchaudio's `functional.resample`,
    which has no build for a torch without CUDA.

    Args:
        samples: shape [n], f32.
    """
    common = math.gcd(given, wanted)
    old, new = given // common, wanted // common
    if old == new:
        return samples
    band = min(old, new) * _ROLLOFF
    width = math.ceil(_ZEROS * old / band)
    at = np.arange(-width, width + old) / old
    times = np.clip((at[None] - np.arange(new)[:, None] / new) * band, -_ZEROS, _ZEROS)
    kernel = np.sinc(times) * np.cos(times * math.pi / _ZEROS / 2) ** 2 * (band / old)
    padded = np.pad(samples, (width, width + old))
    steps = np.lib.stride_tricks.sliding_window_view(padded, 2 * width + old)[::old]
    kernel = kernel.T.astype(np.float32)
    made = [steps[start : start + _ROWS] @ kernel for start in range(0, len(steps), _ROWS)]
    return np.concatenate(made).reshape(-1)[: math.ceil(new * len(samples) / old)]
