"""Every private name of SGLang that kvmesh relies on is checked at start.

`docs/sglang_seam.md` is made of this list (workers.sglang.seam.document). SGLang is imported only
by the check itself, name by name, after `workers.sglang.cpu.activate_if_cpu_host`.
"""

import inspect
from collections.abc import Iterable
from functools import reduce
from importlib import import_module
from typing import Any, Final

from protocol.process.start_error import StartError
from workers.process.failure_note import one_line
from workers.sglang.seam.answers_table import GRAMMARS, READING
from workers.sglang.seam.diffusion_table import DIFFUSION
from workers.sglang.seam.encoding_table import ENCODING, PROCESSING
from workers.sglang.seam.engine_table import PROCESSES, STEPS
from workers.sglang.seam.media_table import WATCHING
from workers.sglang.seam.operating_table import OPERATING
from workers.sglang.seam.relied import Relied
from workers.sglang.seam.text_diffusion_table import TEXT_DIFFUSION
from workers.sglang.seam.told_table import TOLD

CHAPTERS: Final[dict[str, tuple[Relied, ...]]] = {
    "Requests and their steps": STEPS,
    "What a step puts out": TOLD,
    "Processes": PROCESSES,
    "What an operator asks": OPERATING,
    "Grammars": GRAMMARS,
    "Reading answers": READING,
    "Reading videos": WATCHING,
    "Text diffusion": TEXT_DIFFUSION,
    "Encoding pictures": ENCODING,
    "Processing pictures": PROCESSING,
    "Making pictures and videos": DIFFUSION,
}

RELIED_ON: Final = tuple(relied for chapter in CHAPTERS.values() for relied in chapter)

_NOT_BY_ENGINES: Final = (*ENCODING, *PROCESSING, *DIFFUSION)
BY_ENGINES: Final = tuple(relied for relied in RELIED_ON if relied not in _NOT_BY_ENGINES)
"""An engine relies on these; to import what only an encoder has takes 0.4 s and 137 modules, and
what only generators have some seconds.
"""


def check_seam(relied_on: Iterable[Relied] = RELIED_ON) -> None:
    """Checks that the installed SGLang still has what is relied on.

    Raises:
        StartError: it has not, or cannot be imported; the message names what is missing or has
        changed.
    """
    for relied in relied_on:
        try:
            lacking = _lacking(relied)
        except ImportError as error:
            raise StartError(f"SGLang cannot be imported: {one_line(error)}") from error
        if lacking:
            raise StartError(f"SGLang has changed: {relied.name} {lacking}, as it had in 0.5.23")


def _lacking(relied: Relied) -> str:
    """Returns what a name does not have any more, in words; empty where it has all of it."""
    module, _, qualified = relied.name.partition(":")
    try:
        found: Any = reduce(getattr, qualified.split("."), import_module(f"sglang.{module}"))
    except AttributeError:
        return "is no longer there"
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("sglang."):
            raise
        return "is no longer there"
    if relied.parameters is not None:
        parameters = tuple(inspect.signature(found).parameters)
        if parameters != relied.parameters:
            return f"no longer takes ({', '.join(relied.parameters)})"
    source = inspect.getsource(found) if relied.says else ""
    unsaid = next((line for line in relied.says if line not in source), None)
    if unsaid is not None:
        return f"no longer has `{unsaid.strip()}`"
    missing = sorted(set(relied.fields) - _fields_of(found))
    return f"no longer has {', '.join(missing)}" if missing else ""


def _fields_of(owner: Any) -> set[str]:
    """Returns a class's fields: those of msgspec's, of pydantic's private ones, or its
    constructor's.
    """
    named: set[str] = set(getattr(owner, "__struct_fields__", ()))
    named |= set(getattr(owner, "__private_attributes__", ()))
    return named or set(inspect.signature(owner).parameters)
