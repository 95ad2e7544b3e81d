"""What a canary is may also be said in the reference product's form of a request, for which some
fields stand deeper and others go without saying.
"""

import logging
from collections.abc import Mapping
from typing import Any, Final, cast

log = logging.getLogger(__name__)

_DEEPER: Final = ("stop_conditions", "sampling_options", "nvext")
"""What stands in these stands at the root here."""

_OTHER_NAMES: Final = {"max_tokens": "max_new_tokens", "input": "token_ids"}

_ANYWAY: Final[Mapping[str, Any]] = {
    "eos_token_ids": [],
    "annotations": [],
    "n": 1,
    "response_format": "b64_json",
    "_HEALTH_CHECK": True,
}
"""Maps fields to what holds of every canary, and nothing else can be asked for."""

_OF_THE_WORKER: Final = ("model", "bootstrap_info", "seconds")
"""These a worker finds by itself, whatever is said."""


def at_root(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the fields of a canary that a payload says, by our names.

    Raises:
        ValueError: it asks for what no canary does, or says a thing twice.
    """
    fields: dict[str, Any] = {}
    said = list(payload.items())
    for name in _DEEPER:
        if isinstance(payload.get(name), dict):
            said += cast("dict[str, Any]", payload[name]).items()
    for name, value in said:
        if name in _DEEPER and isinstance(value, dict):
            continue
        if name in _OF_THE_WORKER:
            log.info("health checks: %s is what it is, whatever the payload says", name)
            continue
        if name in _ANYWAY:
            if value != _ANYWAY[name]:
                raise ValueError(f"{name} can only be {_ANYWAY[name]!r}")
            continue
        ours = _OTHER_NAMES.get(name, name)
        if ours in fields:
            raise ValueError(f"{ours} is said twice")
        fields[ours] = value
    return fields
