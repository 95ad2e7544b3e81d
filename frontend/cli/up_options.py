"""The options of `kvmesh up`; those of frontend and workers keep their own names behind `--`."""

import argparse

FRONTEND_FLAGS = (
    "--http-host",
    "--http-port",
    "--frontend-processes",
    "--mesh-bind",
    "--mesh-key-file",
    "--router-mode",
)
"""Lists the settings of the frontend that may also be said in front of `--`."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `kvmesh up`."""
    parser.add_argument(
        "--model-path",
        help="a Hugging Face model directory or hub id; without it the demo model is served",
    )
    parser.add_argument(
        "--demo",
        choices=("text", "vision", "image"),
        help="which demo model; vision sees pictures, image draws them",
    )
    parser.add_argument(
        "--workers",
        type=positive_count,
        help="worker processes, each with an engine of its own (default 1, beside pools none)",
    )
    parser.add_argument(
        "--prefill-workers",
        type=positive_count,
        help="workers that compute prompts for others; goes with --decode-workers, and needs GPUs",
    )
    parser.add_argument(
        "--decode-workers",
        type=positive_count,
        help="workers that generate from where those have come to",
    )
    parser.add_argument(
        "--encode-workers",
        type=positive_count,
        default=0,
        help="workers that make vectors of pictures for those, on GPUs of their own if any",
    )
    parser.add_argument(
        "--processors",
        type=positive_count,
        default=0,
        help="workers that make pixels of pictures for those; they need no GPU",
    )
    parser.add_argument(
        "--gpu-share",
        action="store_true",
        help=(
            "where there are more workers than GPUs let several share one and divide its memory, "
            "instead of refusing"
        ),
    )
    parser.add_argument(
        "--engine",
        choices=("sglang", "sim"),
        default="sglang",
        help="sim needs neither GPU nor model",
    )
    for flag in FRONTEND_FLAGS:
        parser.add_argument(flag, help="as of python -m frontend, environment variable included")
    parser.add_argument(
        "--verbose", action="store_true", help="show everything that frontend and workers log"
    )


def positive_count(text: str) -> int:
    """Returns the number of workers that a text says; refuses less than one."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number
