"""Numbers and texts that would make a frontend which answers nothing are refused at its start."""

import re
from typing import Any, Final

from frontend.media.hosts import MediaHosts
from protocol.limits import PORT_MAX
from protocol.media import MEDIA_MAX
from protocol.process.start_error import StartError
from protocol.siblings import PROCESSES_MAX, sibling_address

_path: Final = re.compile(r"(/[\w.~-]+)+").fullmatch
_origin: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s]+").fullmatch

_POSITIVE: Final = (
    "request_timeout",
    "queue_memory_mb",
    "shed_load_share",
    "shed_load_wait_secs",
    "body_limit_mb",
    "http_keep_alive",
    "media_item_mb",
    "media_megapixels",
    "media_items",
    "media_fetch_secs",
)

_NOT_NEGATIVE: Final = (
    "sse_keep_alive",
    "tokenizer_cache_mb",
    "migration_limit",
    "graceful_shutdown_grace_period_secs",
    "http_graceful_shutdown_timeout_secs",
    "router_prefill_weight",
    "router_idle_share",
    "router_waiting_weight",
    "router_request_weight",
    "router_tie_blocks",
    "router_host_weight",
    "router_disk_weight",
    "router_temperature",
    "router_predicted_ttl_secs",
    "router_ttl_secs",
    "router_session_affinity_ttl_secs",
    "kv_index_blocks_max",
    "disagg_min_prompt",
)

_NUMBER_MAX: Final = 1e12
"""Bounds these numbers, 32,000 years where they are seconds: what is reckoned with them stays a
number that a clock and a message hold.
"""

_SAID: Final = ("http_host", "cache_dir")
"""Names the texts that mean something else where they are empty: every interface, and the directory
that the process was started in.
"""


def check_numbers(settings: Any) -> None:
    """Checks the numbers of a FrontendSettings.

    Raises:
        StartError: naming the setting.
    """
    for name in _POSITIVE:
        if not 0 < getattr(settings, name) <= _NUMBER_MAX:
            raise StartError(
                f"{_flag(name)} must be above 0 and at most 1e12, got {getattr(settings, name)}"
            )
    for name in _NOT_NEGATIVE:
        if not 0 <= getattr(settings, name) <= _NUMBER_MAX:
            raise StartError(f"{_flag(name)} must be 0 to 1e12, got {getattr(settings, name)}")
    if not 0 <= settings.http_port <= PORT_MAX:
        raise StartError(f"--http-port must be 0 to {PORT_MAX}, got {settings.http_port}")
    if not 1 <= settings.frontend_processes <= PROCESSES_MAX:
        raise StartError(
            f"--frontend-processes must be 1 to {PROCESSES_MAX}, got {settings.frontend_processes}"
        )
    try:
        sibling_address(settings.mesh_bind, settings.frontend_processes - 1)
    except ValueError as error:
        raise StartError(f"--frontend-processes {settings.frontend_processes}: {error}") from None
    if settings.media_items > MEDIA_MAX:
        raise StartError(f"--media-items must be at most {MEDIA_MAX}, got {settings.media_items}")


def check_texts(settings: Any) -> None:
    """Checks the paths, origins and hosts of a FrontendSettings.

    Raises:
        StartError: naming the setting.
    """
    for name in _SAID:
        if not getattr(settings, name):
            raise StartError(f"{_flag(name)} must not be empty")
    for name in ("http_svc_health_path", "http_svc_live_path"):
        if not _path(getattr(settings, name)):
            raise StartError(
                f"{_flag(name)} must be a path like /health, got {getattr(settings, name)!r}"
            )
    for origin in settings.cors_origin:
        if not _origin(origin):
            raise StartError(
                "--cors-origin must be * or like https://chat.example, without a path, "
                f"got {origin!r}"
            )
    try:
        MediaHosts(settings.media_url_hosts)
    except ValueError as error:
        raise StartError(f"--media-url-hosts: {error}") from None


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"
