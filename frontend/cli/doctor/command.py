"""`kvmesh doctor` runs every check and says what to mend; it needs neither GPU nor engine."""

import argparse
import os
import sys
from collections.abc import Mapping
from typing import Final

from frontend.cli.doctor import (
    clock,
    disks,
    gpus,
    key_file,
    limits,
    listeners,
    names,
    ports,
    running,
    subject,
    versions,
)
from frontend.cli.doctor.examination import Check, examine
from frontend.cli.doctor.report import exit_code, print_json, print_lines

CHECKS: Final[Mapping[str, Check]] = {
    "versions": versions.check,
    "GPUs": gpus.check,
    "shared memory": limits.check_shared_memory,
    "limits": limits.check_limits,
    "disks": disks.check,
    "clock": clock.check,
    "mesh key": key_file.check,
    "names": names.check,
    "ports": ports.check,
    "frontend": running.check,
    "sockets": listeners.check,
}
"""Maps what is looked at to who looks, in the order in which it is told."""


def run(options: argparse.Namespace) -> int:
    """Looks at everything and tells it; returns 1 where something must be mended, else 0."""
    looked_at, of_settings = subject.subject_of(options, os.environ)
    findings = [of_settings, *examine(CHECKS, looked_at)]
    if options.json:
        print_json(findings)
    else:
        print_lines(findings, sys.stdout)
    return exit_code(findings)
