"""Says whether a process records spans, and where OpenTelemetry's own variables send them; without
them nothing of OpenTelemetry is imported.
"""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from protocol.process.start_error import StartError

if TYPE_CHECKING:
    from protocol.process.spans import Spans

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS: Final = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")

GRPC: Final = "grpc"
HTTP: Final = "http/protobuf"
_DEFAULTS: Final = {GRPC: "http://localhost:4317", HTTP: "http://localhost:4318/v1/traces"}
"""Maps each way that spans can take to where they go if nobody says."""


def is_wanted(told: bool | None, environ: Mapping[str, str] = os.environ) -> bool:
    """Tells whether spans are to be recorded.

    Args:
        told: what the process was told; None: it goes by whether a collector is named.
    """
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() == "none":
        return False
    return any(map(environ.get, ENDPOINTS)) if told is None else told


def route_of(environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Returns the protocol by which spans go, and the address that they go to.

    Raises:
        StartError: it is none of those that there are.
    """
    variable = next((each for each in PROTOCOLS if environ.get(each)), PROTOCOLS[1])
    protocol = environ.get(variable, GRPC).strip().lower()
    if protocol not in _DEFAULTS:
        raise StartError(f"{variable} must be {GRPC} or {HTTP}, not {protocol!r}")
    own, of_all = (environ.get(each, "").strip() for each in ENDPOINTS)
    if not own and of_all and protocol == HTTP:
        own = f"{of_all.rstrip('/')}/v1/traces"
    return protocol, own or of_all or _DEFAULTS[protocol]


def open_spans(told: bool | None, *, service: str, instance: str) -> "Spans | None":
    """Returns what records the spans of this process; None if none are to be recorded.

    Args:
        told: as `is_wanted`.
        service: the name of the process's kind, where OTEL_SERVICE_NAME gives none.
        instance: the name of this very process.
    Raises:
        StartError: they are to be recorded, but cannot be.
    """
    if not is_wanted(told):
        return None
    protocol, endpoint = route_of()
    try:
        from protocol.process.spans import Spans  # noqa: PLC0415 - costs who does not trace nothing
    except ImportError as error:
        raise StartError(
            f"spans are to go to {endpoint}, but OpenTelemetry is not installed ({error}): "
            "pip install 'kvmesh[tracing]', or set OTEL_EXPORT_ENABLED=false"
        ) from None
    return Spans(endpoint, over_http=protocol == HTTP, service=service, instance=instance)
