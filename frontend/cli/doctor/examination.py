"""Checks run side by side, and none is waited for longer than it may take."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from frontend.cli.doctor.finding import Finding, warn
from frontend.cli.doctor.subject import Subject

CHECK_S_MAX: Final = 15.0
"""Bounds what the checks take together: nvidia-smi takes seconds where the driver has been asleep,
and a name server that is gone some ten.
"""

Check = Callable[[Subject], Iterable[Finding]]


def examine(
    checks: Mapping[str, Check], subject: Subject, wait_s_max: float = CHECK_S_MAX
) -> list[Finding]:
    """Returns what the checks found, in their order.

    One that takes longer than `wait_s_max` seconds, or raises, is a finding itself. Whatever it
    hangs at, a dead disk or driver, it cannot keep the process from ending.
    """
    found: dict[str, list[Finding]] = {}

    def run(name: str, check: Check) -> None:
        try:
            found[name] = list(check(subject))
        except Exception as error:  # noqa: BLE001 - of whatever library; the other checks go on
            found[name] = [
                warn(
                    name,
                    f"could not be looked at: {type(error).__name__}: {_one_line(error)}",
                    "Look at it by hand, and report this as a defect of kvmesh doctor.",
                )
            ]

    threads = [
        threading.Thread(target=run, args=item, name=item[0], daemon=True)
        for item in checks.items()
    ]
    deadline = time.monotonic() + wait_s_max
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return [finding for name in checks for finding in found.get(name, [_late(name, wait_s_max)])]


def _late(name: str, wait_s_max: float) -> Finding:
    return warn(
        name,
        f"gave no answer within {wait_s_max:g} s",
        "Something that it asks hangs: a disk, a driver or a name server.",
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
