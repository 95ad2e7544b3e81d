"""Runs one frontend, serving HTTP and taking workers: `python -m frontend`."""

import gc
import sys

import uvloop

from frontend.settings import FrontendSettings
from protocol.process.one_line_logs import log_to_stderr
from protocol.process.packaging import require_own_packages
from protocol.process.settings import parse_settings
from protocol.process.standard_files import open_standard_files
from protocol.process.start_error import EXIT_CANNOT_START, StartError


def main() -> int:
    """Runs a frontend until it is told to stop; returns the exit code."""
    # Until it serves: what is imported is no garbage, and to look through it takes a sixth of a
    # start.
    gc.disable()
    open_standard_files()
    try:
        settings = parse_settings(FrontendSettings, sys.argv[1:], prog="python -m frontend")
        log_to_stderr(settings.log_level, as_json=settings.log_json)
        require_own_packages()
        if settings.frontend_processes > 1:
            return _supervise(settings)
        _serve(settings)
    except StartError as error:
        print(f"kvmesh frontend cannot start: {error}", file=sys.stderr)  # noqa: T201 - the one line for the person at the terminal
        return EXIT_CANNOT_START
    return 0


def _serve(settings: FrontendSettings) -> None:
    from frontend.app import serve  # noqa: PLC0415
    from frontend.inflight.request_log import make_logging_lean  # noqa: PLC0415

    make_logging_lean()
    uvloop.run(serve(settings))


def _supervise(settings: FrontendSettings) -> int:
    from frontend.processes.parent import supervise  # noqa: PLC0415 - one frontend needs it not

    gc.enable()
    return uvloop.run(supervise(settings))


if __name__ == "__main__":
    raise SystemExit(main())
