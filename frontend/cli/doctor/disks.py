"""The disks that kvmesh and its engines keep files on."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import psutil

from frontend.cli.doctor.finding import Finding, fail, ok, warn
from frontend.cli.doctor.limits import size
from frontend.cli.doctor.subject import Subject
from protocol.process.own_directory import OWN_DIRECTORY

FREE_BYTES_MIN: Final = 2**30
FREE_BYTES_LOW: Final = 10 * 2**30
"""Are what a tokenizer's files and logs take in time, and what a small model's weights take."""


def check(subject: Subject) -> Iterator[Finding]:
    """Yields a finding for each place that something is kept in."""
    yield place("frontend cache", Path(subject.settings.cache_dir).expanduser(), FREE_BYTES_MIN)
    yield place("model cache", hugging_face_hub(subject.environ), FREE_BYTES_LOW)
    yield place("temporary files", OWN_DIRECTORY.parent, FREE_BYTES_MIN)


def hugging_face_hub(environ: Mapping[str, str]) -> Path:
    """Returns where models of the hub are kept, by the variables that its library reads."""
    home = environ.get("HF_HOME") or str(
        Path(environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    )
    return Path(environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()


def place(about: str, path: Path, free_bytes_low: int) -> Finding:
    """Returns a finding on the disk of a path, which need not exist yet."""
    there = next(each for each in (path, *path.parents) if each.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return fail(
            about,
            f"{path}: this user may not write to {there}",
            "Give this user the right to, or name another place.",
        )
    return judge(about, path, psutil.disk_usage(str(there)).free, free_bytes_low)


def judge(about: str, path: Path, free: int, free_bytes_low: int) -> Finding:
    """Returns a finding on a place with so many free bytes."""
    says = f"{path}: {size(free)} free"
    mend = "Make room on that disk, or keep these files on another."
    if free < FREE_BYTES_MIN // 4:
        return fail(about, says, mend)
    if free < free_bytes_low:
        return warn(about, says, mend)
    return ok(about, says)
