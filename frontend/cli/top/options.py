"""The options of `kvmesh top`."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `kvmesh top`."""
    parser.add_argument(
        "--url",
        default="http://127.0.0.1:8000",
        help="base URL of the frontend, with or without /v1",
    )
    parser.add_argument("--once", action="store_true", help="print one picture and end")
