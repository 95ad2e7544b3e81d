"""Limits of the operating system: shared memory, open files, processes, locked memory."""

import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import psutil

from frontend.cli.doctor.finding import Finding, fail, ok, warn
from frontend.cli.doctor.subject import Subject
from protocol.process.open_files import LOW

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - looked at, nothing is written

SHARED_BYTES_LOW: Final = 2**30
"""Is what the ranks of one engine want at least, for NCCL and for what they hand each other."""

SHARED_BYTES_MIN: Final = 2**26
"""Is what containers have unless they are given more; several ranks soon use it up."""

PROCESSES_LOW: Final = 4_096
"""Is the number of threads below which an engine of several ranks may not start: each takes some
hundred, as its libraries make a pool for every core.
"""

_RDMA: Final = Path("/sys/class/infiniband")

_MORE_SHARED: Final = (
    "Give the container more, as docker run --shm-size 8g or --ipc host do, or mount it anew: "
    "mount -o remount,size=8g /dev/shm."
)


def check_shared_memory(_: Subject) -> Iterator[Finding]:
    """Yields what there is of shared memory."""
    yield shared_memory(SHARED_MEMORY)


def shared_memory(path: Path) -> Finding:
    """Returns a finding on the file system that shared memory lies in."""
    try:
        usage = psutil.disk_usage(str(path))
    except OSError as error:
        return warn(str(path), f"cannot be looked at: {error.strerror}", _MORE_SHARED)
    return judge_shared_memory(str(path), usage.total, usage.free)


def judge_shared_memory(about: str, total: int, free: int) -> Finding:
    """Returns a finding on so many bytes of shared memory."""
    says = f"{size(free)} free of {size(total)}"
    if free < SHARED_BYTES_MIN:
        return fail(about, says, f"Remove what programs that ended have left. {_MORE_SHARED}")
    if free < SHARED_BYTES_LOW:
        return warn(about, f"{says}; engines on several GPUs want more", _MORE_SHARED)
    return ok(about, says)


def check_limits(_: Subject) -> Iterator[Finding]:
    """Yields a finding for each limit of this user's processes."""
    yield open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    yield processes(resource.getrlimit(resource.RLIMIT_NPROC)[0])
    yield locked_memory(
        resource.getrlimit(resource.RLIMIT_MEMLOCK)[0],
        rdma=_RDMA.is_dir() and any(_RDMA.iterdir()),
    )


def open_files(hard: int) -> Finding:
    """Returns a finding on the hard limit of open files, to which every process raises its own."""
    if hard != resource.RLIM_INFINITY and hard < LOW:
        return warn(
            "open files",
            f"at most {hard}; each client and each worker takes some",
            "Raise the hard limit: ulimit -Hn 65536, LimitNOFILE= of systemd, --ulimit nofile=65536"
            " of docker.",
        )
    return ok("open files", f"up to {_count(hard)}")


def processes(soft: int) -> Finding:
    """Returns a finding on the limit of this user's processes and threads."""
    if soft != resource.RLIM_INFINITY and soft < PROCESSES_LOW:
        return warn(
            "processes",
            f"at most {soft} processes and threads; an engine takes hundreds for each rank",
            "Raise the limit: ulimit -u 32768, or TasksMax= and LimitNPROC= of systemd.",
        )
    return ok("processes", f"up to {_count(soft)}, threads included")


def locked_memory(soft: int, *, rdma: bool) -> Finding:
    """Returns a finding on the memory that a process may lock, which RDMA does with KV caches."""
    if soft == resource.RLIM_INFINITY:
        return ok("locked memory", "unlimited")
    if rdma:
        return warn(
            "locked memory",
            f"at most {size(soft)}, and this host has RDMA devices, which lock KV caches in memory",
            "Lift the limit where prefill and decode are apart: ulimit -l unlimited, or --ulimit "
            "memlock=-1 of docker.",
        )
    return ok("locked memory", f"up to {size(soft)}; only RDMA would want more")


def size(count: float) -> str:
    """Returns a number of bytes as people read it."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def _count(limit: int) -> str:
    return "any number" if limit == resource.RLIM_INFINITY else f"{limit:,}"
