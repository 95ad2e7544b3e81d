"""The body of a route has the fields that the engine takes, and those that say what becomes of
running requests.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import NODEFAULT, Meta, Struct
from msgspec.structs import FieldInfo

from workers.operating.routes import Route, WhenBusy

WAIT_S: Final = 120.0
"""Running requests are waited for this many seconds if the body says nothing: an answer of some
thousand tokens.
"""

WAIT_S_MAX: Final = 3_600.0
"""Running requests are waited for at most this many seconds: whoever asked holds a connection."""

LIMIT_S_MAX: Final = 86_400.0
"""An engine may be at one thing for at most this many seconds: a day is as good as for ever."""

OWN_FIELDS: Final = ("when_busy", "wait_s", "limit_s")
"""These fields of a body are ours, and not the engine's."""

_HIDDEN: Final = frozenset(("rid", "http_worker_ipc", "req_type"))
"""These fields of SGLang's structs are between its processes."""

_OUR_DEFAULTS: Final[Mapping[tuple[str, str], tuple[Any, Any]]] = {
    ("pause_generation", "mode"): (Literal["abort", "retract", "in_place"] | None, None),
    ("update_weight_version", "abort_all_requests"): (bool, False),
    ("continue_generation", "torch_empty_cache"): (bool | None, None),
}
"""These fields have other types and defaults than the engine's: no client loses its answer unless
somebody asks for it, and what nobody asked for is not said to be ignored.
"""

_Wait = Annotated[float, Meta(ge=0.0, le=WAIT_S_MAX)]
_Limit = Annotated[float, Meta(gt=0.0, le=LIMIT_S_MAX)]


def body_of(route: Route, engines: type[Struct]) -> type[Struct]:
    """Returns the struct of a route's body, made of the one that the engine takes."""
    fields = [
        _field(route, field)
        for field in msgspec.structs.fields(engines)
        if field.name not in _HIDDEN
    ]
    if route.when_busy is not None:
        fields += [("when_busy", WhenBusy | None, None), ("wait_s", _Wait, WAIT_S)]
    if not route.looks:
        fields += [("limit_s", _Limit, route.limit_s)]
    return msgspec.defstruct(route.name, fields, kw_only=True, forbid_unknown_fields=True)


def for_engine(body: Struct, engines: type[Struct]) -> Struct:
    """Returns the engine's struct with what a body says."""
    taken = {field.name for field in msgspec.structs.fields(engines)} - _HIDDEN
    return engines(
        **{name: value for name, value in msgspec.structs.asdict(body).items() if name in taken}
    )


def _field(route: Route, field: FieldInfo) -> tuple[str, Any] | tuple[str, Any, Any]:
    if ours := _OUR_DEFAULTS.get((route.name, field.name)):
        kind, default = ours
        return field.name, kind, default
    if field.default_factory is not NODEFAULT:
        return field.name, field.type, msgspec.field(default_factory=field.default_factory)
    return (
        (field.name, field.type)
        if field.default is NODEFAULT
        else (field.name, field.type, field.default)
    )
