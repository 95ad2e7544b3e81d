"""Versions of Python, kvmesh and what it stands on are read from the installer's records; nothing
is imported for it.
"""

import platform
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import Final

import zmq

from frontend.cli.doctor.finding import Finding, fail, ok, warn
from frontend.cli.doctor.subject import Subject
from protocol.process.packaging import VERSION, foreign_owners

PYTHON_MIN: Final = (3, 11)

_OF_WORKERS: Final = ("sglang", "torch", "transformers")

_pinned: Final = re.compile(r"sglang==([\w.]+)").match


def check(_: Subject) -> Iterator[Finding]:
    """Yields a finding for each version that matters."""
    python = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info[:2] < PYTHON_MIN:
        yield fail("python", python, "kvmesh needs Python 3.11 or newer.")
    else:
        yield ok("python", python)
    yield ok("kvmesh", VERSION)
    for complaint in foreign_owners():
        yield fail("packages", complaint, "Install kvmesh again after that.")
    yield _zmq()
    for name in _OF_WORKERS:
        yield _of_workers(name)


def installed(name: str) -> str | None:
    """Returns the version of an installed distribution, None if there is none."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def pinned_sglang() -> str | None:
    """Returns the version of SGLang that kvmesh is made for; None in a checkout that was never
    installed.
    """
    try:
        needs = metadata.requires("kvmesh") or []
    except metadata.PackageNotFoundError:
        return None
    return next((found[1] for each in needs if (found := _pinned(each))), None)


def _zmq() -> Finding:
    says = f"{zmq.pyzmq_version()} on libzmq {zmq.zmq_version()}"
    if zmq.has("curve"):
        return ok("pyzmq", says)
    return fail(
        "pyzmq",
        f"{says}, which cannot encrypt (no CURVE)",
        "Install pyzmq as its authors publish it: pip install --force-reinstall pyzmq.",
    )


def _of_workers(name: str) -> Finding:
    version = installed(name)
    if version is None:
        return ok(name, "not installed; a host of frontends needs none")
    pinned = pinned_sglang()
    if name == "sglang" and pinned is not None and version != pinned:
        return warn(
            name,
            f"{version}, and kvmesh is made for {pinned}",
            f"Install what it is tested with: pip install sglang=={pinned}.",
        )
    return ok(name, version)
