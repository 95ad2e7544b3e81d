"""GPUs, their driver, and whether the installed torch suits them."""

import csv
import importlib.util
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from frontend.cli.doctor.finding import Finding, fail, ok, warn
from frontend.cli.doctor.subject import Subject
from frontend.cli.doctor.versions import installed
from frontend.cli.gpus import left_visible

LISTING_S_MAX: Final = 10.0
"""Bounds each call of nvidia-smi, which takes seconds where the driver has been asleep."""

_COLUMNS: Final = "name,driver_version,memory.total,memory.used"

_cuda_of_driver: Final = re.compile(r"CUDA Version:\s*([\d.]+)").search
_cuda_of_torch: Final = re.compile(r"^cuda\b[^=]*=\s*'([\d.]+)'", re.MULTILINE).search

_INSTALL: Final = "pip install '.[sglang]' in a fresh environment: SGLang as its authors publish it"


def check(subject: Subject) -> Iterator[Finding]:
    """Yields what there is of GPUs."""
    try:
        listed = _nvidia_smi(f"--query-gpu={_COLUMNS}", "--format=csv,noheader,nounits")
    except FileNotFoundError:
        yield without(Path("/dev"))
        return
    except subprocess.TimeoutExpired:
        yield _broken(f"nvidia-smi did not answer within {LISTING_S_MAX:g} s")
        return
    if listed.returncode:
        yield _broken(" ".join((listed.stdout or listed.stderr).split())[:200])
        return
    rows = [[cell.strip() for cell in row] for row in csv.reader(listed.stdout.splitlines())]
    yield from of_rows(rows)
    named = subject.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        yield visible(len(rows), named)
    yield torch_suits(cuda_of_driver(), cuda_of_torch())


def without(dev: Path) -> Finding:
    """Returns a finding on a host without nvidia-smi."""
    if any(dev.glob("nvidia[0-9]*")):
        return warn(
            "GPUs",
            "there are NVIDIA devices, and no nvidia-smi",
            "Install the driver's tools; in a container, NVIDIA's container toolkit brings them.",
        )
    return ok("GPUs", "no NVIDIA GPU; engines run on the CPU, and frontends need none")


def of_rows(rows: list[list[str]]) -> Iterator[Finding]:
    """Yields a finding for each GPU, given as name, driver version, MiB and MiB used."""
    for number, row in enumerate(rows):
        name, driver, total, used = row
        says = f"GPU {number}: {name}, driver {driver}, {used} of {total} MiB used"
        if used.isdecimal() and total.isdecimal() and int(used) * 2 > int(total):
            yield warn(
                "GPUs",
                says,
                "If no worker of yours has it, see nvidia-smi for who does: an engine starts with "
                "what is left.",
            )
        else:
            yield ok("GPUs", says)


def visible(there: int, named: str) -> Finding:
    """Returns a finding on CUDA_VISIBLE_DEVICES."""
    left = left_visible(there, named)
    says = f"CUDA_VISIBLE_DEVICES={named!r} leaves {left} of {there}"
    if not left:
        return fail("GPUs", says, "Name GPUs that exist, or unset the variable.")
    return ok("GPUs", says)


def cuda_of_driver() -> str | None:
    """Returns the newest CUDA that the driver runs; None where it does not say."""
    try:
        found = _cuda_of_driver(_nvidia_smi().stdout)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found and found[1]


def cuda_of_torch() -> str | None:
    """Returns the CUDA that the installed torch is built for, without importing it: "" where it is
    built for none, None where there is no torch.
    """
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text()
    except OSError:
        return None
    found = _cuda_of_torch(text)
    return found[1] if found else ""


def torch_suits(driver: str | None, torch: str | None) -> Finding:
    """Returns a finding on the CUDA of torch on a host whose driver runs CUDA up to `driver`."""
    if torch is None:
        if installed("sglang") is None:
            return warn("CUDA", "there are GPUs, and no SGLang to use them", f"{_INSTALL}.")
        return warn("CUDA", "torch's CUDA cannot be found out", f"Try {_INSTALL}.")
    if not torch:
        return fail("CUDA", "torch is built for the CPU, and there are GPUs", f"{_INSTALL}.")
    if driver is None:
        return warn(
            "CUDA",
            f"torch is built for {torch}, and the driver does not say what it runs",
            "See whether nvidia-smi works.",
        )
    says = f"torch is built for {torch}, the driver runs up to {driver}"
    if _major(torch) > _major(driver):
        return fail("CUDA", says, "Install a newer driver, or a torch for an older CUDA.")
    return ok("CUDA", says)


def _broken(says: str) -> Finding:
    return fail(
        "GPUs",
        says,
        "The driver does not work: see dmesg, load it anew or restart the host; in a container, "
        "start it with --gpus all.",
    )


def _major(version: str) -> int:
    return int(version.partition(".")[0])


def _nvidia_smi(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["nvidia-smi", *arguments],  # noqa: S607 - wherever the driver has put it
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=LISTING_S_MAX,
    )
