"""Has a running frontend draw a picture, saves it and shows it: `kvmesh chat --image`."""

import argparse
import base64
import binascii
import json
import sys
import urllib.error
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from frontend.cli import terminal_picture
from frontend.cli.addresses import api_url
from frontend.cli.direct_http import UNREACHABLE, error_message, get_json, open_url
from frontend.models.services import IMAGES

SILENCE_S_MAX: Final = 600.0
"""Bounds the time until a picture is made: the frontend's own default limit of a request."""

ANSWER_BYTES_MAX: Final = 512 * 1024 * 1024
"""Bounds what is read of an answer, so that no server fills the memory: a PNG of 8192x8192 pixels
that nothing compresses has half of that in base64.
"""

NAMES_TRIED_MAX: Final = 10_000
"""Bounds the pictures in one folder under names of ours."""

FORMATS: Final = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
"""A file's ending says the format that is asked for."""

EXIT_INTERRUPTED: Final = 130
"""Is how shells tell that Ctrl-C ended a program."""

_NAME: Final = "kvmesh-picture"


class _NoPicture(Exception):
    """A _NoPicture says in one line why there is none."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of `kvmesh chat` that are about a picture to be drawn."""
    drawing = parser.add_argument_group("pictures")
    drawing.add_argument(
        "--image",
        metavar="PROMPT",
        help="have this drawn and saved in the current folder, instead of a conversation",
    )
    drawing.add_argument("--size", help="WIDTHxHEIGHT in pixels; as the model likes if not given")
    drawing.add_argument("--seed", type=int, help="makes the same picture again")
    drawing.add_argument(
        "--out", type=Path, help="file to save it in: .png, .jpg or .webp; must not exist"
    )


def check(options: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends the process with a usage message where options of pictures stand without a prompt."""
    told = {"--size": options.size, "--seed": options.seed, "--out": options.out}
    lonely = [flag for flag, value in told.items() if value is not None]
    if options.image is None and lonely:
        parser.error(f"{' and '.join(lonely)} go with --image: they are about a picture")
    if options.image is not None and options.system is not None:
        parser.error("--system goes with a conversation, and --image makes none")
    if options.out is not None and options.out.suffix.lower() not in FORMATS:
        parser.error(f"--out must end with {', '.join(FORMATS)}")


def run(options: argparse.Namespace) -> int:
    """Has a picture drawn, saves it, prints where it is and shows it; returns the exit code."""
    url = api_url(options.url)
    try:
        if options.out is not None and options.out.exists():
            raise _NoPicture(f"{options.out} exists, and nothing is overwritten")
        data, seed = _drawn(url, options)
        path = _saved(data, options.out)
        if not sys.stdout.isatty():
            print(path)
            return 0
        terminal_picture.show(data)
        print(path if seed is None else f"{path} (seed {seed})")
    except _NoPicture as failed:
        print(f"kvmesh: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # the connection ends with this process, and the drawing with it
        print(file=sys.stderr)
        return EXIT_INTERRUPTED
    return 0


def _drawn(url: str, options: argparse.Namespace) -> tuple[bytes, int | None]:
    """Returns a picture file and the seed that makes it again.

    Raises:
        _NoPicture: it could not be had.
    """
    asked = {
        "model": options.model or _model_that_draws(url),
        "prompt": options.image,
        "size": options.size,
        "seed": options.seed,
        "response_format": "b64_json",
        "output_format": FORMATS[options.out.suffix.lower()] if options.out else "png",
    }
    body = {name: value for name, value in asked.items() if value is not None}
    try:
        with open_url(f"{url}/images/generations", timeout_s=SILENCE_S_MAX, body=body) as answer:
            told = answer.read(ANSWER_BYTES_MAX + 1)
        if len(told) > ANSWER_BYTES_MAX:
            raise _NoPicture("the answer has no end")
        made: dict[str, Any] = json.loads(told)["data"][0]
        return base64.b64decode(made["b64_json"], validate=True), made.get("seed")
    except urllib.error.HTTPError as error:
        with error:
            raise _NoPicture(error_message(error)) from None
    except (LookupError, TypeError, AttributeError, binascii.Error):
        raise _NoPicture("the answer has no picture") from None
    except UNREACHABLE as error:
        raise _NoPicture(f"no picture: {error}") from None


def _model_that_draws(url: str) -> str:
    """Returns the name of the one model that makes pictures.

    Raises:
        _NoPicture: there is none, or several.
    """
    try:
        models = get_json(f"{url}/models", timeout_s=10)["data"]
        names = [
            each["id"]
            for each in models
            if each.get("service") == IMAGES and each.get("parent") is None  # no adapter
        ]
    except (*UNREACHABLE, LookupError, TypeError, AttributeError):
        raise _NoPicture(f"no model is served at {url}") from None
    if not names:
        raise _NoPicture(
            f"no model that makes pictures is served at {url}; kvmesh up --demo image serves one"
        )
    if len(names) > 1:
        raise _NoPicture(f"several models make pictures: --model says which ({', '.join(names)})")
    return names[0]


def _saved(data: bytes, out: Path | None) -> Path:
    """Returns the new file that the picture is in.

    Raises:
        _NoPicture: it cannot be written.
    """
    paths = [out] if out else (Path(_name(number)) for number in range(1, NAMES_TRIED_MAX + 1))
    for path in paths:
        try:
            with path.open("xb") as file, _removed_if_not_whole(path):
                file.write(data)
        except FileExistsError:
            continue
        except OSError as error:
            raise _NoPicture(f"{path}: {error.strerror}") from None
        return path
    raise _NoPicture(
        f"{out} exists, and nothing is overwritten" if out else f"too many {_name(0)} and further"
    )


@contextmanager
def _removed_if_not_whole(path: Path) -> Generator[None]:
    try:
        yield
    except BaseException:  # a full disk, or Ctrl-C
        path.unlink(missing_ok=True)
        raise


def _name(number: int) -> str:
    return f"{_NAME}-{number}.png"
