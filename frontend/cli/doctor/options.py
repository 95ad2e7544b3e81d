"""The options of `kvmesh doctor`."""

import argparse

FRONTEND_FLAGS = (
    "--http-host",
    "--http-port",
    "--frontend-processes",
    "--mesh-bind",
    "--mesh-key-file",
    "--cache-dir",
    "--config",
)
"""Lists what of a frontend's settings may be said to the doctor too."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `kvmesh doctor`: mostly what the environment says otherwise."""
    parser.add_argument("--url", help="base URL of a running frontend; made of its settings if not")
    parser.add_argument(
        "--frontend",
        action="append",
        metavar="ADDRESS",
        help="mesh address that workers here would dial; may be repeated",
    )
    for flag in FRONTEND_FLAGS:
        parser.add_argument(flag, help="as of python -m frontend, environment variable included")
    parser.add_argument("--json", action="store_true", help="tell it as JSON")
