"""Sounds as tests send them."""

import io
import math
import struct
import wave


def sound(hertz: int, seconds: float = 0.4, rate: int = 16_000, channels: int = 1) -> bytes:
    """A WAV with a tone."""
    file = io.BytesIO()
    with wave.open(file, "wb") as written:
        written.setnchannels(channels)
        written.setsampwidth(2)
        written.setframerate(rate)
        for at in range(int(seconds * rate)):
            value = int(12_000 * math.sin(2 * math.pi * hertz * at / rate))
            written.writeframesraw(struct.pack("<h", value) * channels)
    return file.getvalue()
