"""What a video or sound may take while it is decoded."""

from typing import Final

FRAME_PIXELS_MAX: Final = 7_680 * 4_320
"""Bounds the pixels of one frame. 8K is the largest that cameras and screens have."""

DECODED_PIXELS_MAX: Final = 768 * 1_280 * 720
"""Bounds the pixels of all frames that a model's processor asks for at once, of which each is three
bytes: SGLang takes up to 768 frames of a video for Qwen's models, two a second, and 720p is more
than any of them is shown. A file of 100 kB may hold 10 GB of frames.
"""

SOUND_S_MAX: Final = 1_800
"""Bounds the seconds of a sound. Half an hour is 115 MB at the 16 kHz that models hear, and more
than any of them is given: silence of a day is a file of some hundred kilobytes.
"""

SOUND_VALUES_MAX: Final = 256 * 1024 * 1024
"""Bounds the values that are read of a sound, of all channels: half an hour in stereo at 48 kHz has
170 million.
"""

WALL_S_MAX: Final = 60
"""One look into a video may take this many seconds. A minute in 4K takes 10 s on two cores, most of
it for frames that are decoded only because others are made from them.
"""

MEMORY_BYTES_MAX: Final = 4 * 1024 * 1024 * 1024
"""The process that decodes may take this many bytes. Frames of 8K are 0.1 GB each, of which a
decoder keeps up to some tens.
"""

IDLE_S_MAX: Final = 120
"""The process ends after this many seconds without work; to start one takes a second."""
