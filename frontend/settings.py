"""Declares the frontend's settings."""

from dataclasses import dataclass
from typing import Literal

from frontend.media.bounds import MediaBounds
from frontend.metrics_settings import MetricsSettings
from frontend.routing.settings import RoutingSettings
from frontend.settings_checks import check_numbers, check_texts
from frontend.text.tokenizing.tokenizer import Backend
from protocol.media import MEDIA_MAX
from protocol.process.log_settings import LogSettings
from protocol.process.own_directory import OWN_MESH
from protocol.process.settings import setting

UnknownFields = Literal["ignore", "refuse"]
"""Says what becomes of fields that no struct has: named in a header, or the client's error."""


@dataclass(frozen=True, kw_only=True)
class FrontendSettings(RoutingSettings, MetricsSettings, LogSettings):
    """FrontendSettings holds what `python -m frontend` takes from flags, environment and file."""

    http_host: str = setting(
        "127.0.0.1", "address to serve HTTP on", env="KVMESH_HTTP_HOST", also_env="DYN_HTTP_HOST"
    )
    http_port: int = setting(
        8000, "port to serve HTTP on", env="KVMESH_HTTP_PORT", also_env="DYN_HTTP_PORT"
    )
    frontend_processes: int = setting(
        1,
        (
            "processes that serve behind the one port, each good for a core; the further ones "
            "take workers at the addresses that follow --mesh-bind, where workers find them"
        ),
        env="KVMESH_FRONTEND_PROCESSES",
    )
    mesh_bind: str = setting(
        OWN_MESH,
        (
            "address that workers connect to: ipc://PATH for those of this host, tcp://HOST:PORT "
            "for others"
        ),
        env="KVMESH_MESH_BIND",
    )
    mesh_key_file: str | None = setting(
        None,
        "file with 64 hex digits shared by the mesh; needed as soon as it leaves this host",
        env="KVMESH_MESH_KEY_FILE",
    )
    tokenizer_backend: Backend = setting(
        "auto",
        "auto takes fastokens where it agrees with Hugging Face",
        env="KVMESH_TOKENIZER_BACKEND",
    )
    tokenizer_cache_mb: int = setting(
        32,
        (
            "memory for tokens of earlier texts, so that a growing chat is not tokenized from "
            "its beginning; 0: none"
        ),
        env="KVMESH_TOKENIZER_CACHE_MB",
    )
    unknown_fields: UnknownFields = setting(
        "ignore",
        (
            "what becomes of request fields that have no effect; ignored ones are named in the "
            "answer's header x-kvmesh-ignored"
        ),
        env="KVMESH_UNKNOWN_FIELDS",
    )
    request_timeout: float = setting(
        600.0,
        "seconds from its arrival after which a request is ended",
        env="KVMESH_REQUEST_TIMEOUT",
    )
    sse_keep_alive: float = setting(
        30.0,
        (
            "seconds of silence, as before a first token, after which a stream gets a comment, "
            "so that no proxy gives it up; 0: never"
        ),
        env="KVMESH_SSE_KEEP_ALIVE",
    )
    cors_origin: tuple[str, ...] = setting(
        (),
        (
            "origin whose pages may call from a browser, as https://chat.example, or * for any; "
            "may be repeated"
        ),
        env="KVMESH_CORS_ORIGIN",
    )
    allow_abort_all: bool = setting(
        default=False,
        help_text=(
            "let /abort_request end the requests of everybody (abort_all), and not only one by "
            "its rid"
        ),
        env="KVMESH_ALLOW_ABORT_ALL",
    )
    migration_limit: int = setting(
        3,
        "times that a request is moved to another worker when its own is lost",
        env="DYN_MIGRATION_LIMIT",
    )
    queue_memory_mb: int = setting(
        1024,
        "memory for requests that wait for a worker with room, some 30 to 60 thousand short ones",
        env="KVMESH_QUEUE_MEMORY_MB",
    )
    shed_load: bool = setting(
        default=False,
        help_text=(
            "refuse what would have to wait, for those who promise latencies; without it a "
            "request waits until its deadline"
        ),
        env="KVMESH_SHED_LOAD",
    )
    shed_load_share: float = setting(
        0.25,
        (
            "--shed-load: share of a request's usual duration that a surge may wait for a place; "
            "in a flood nobody waits"
        ),
        env="KVMESH_SHED_LOAD_SHARE",
    )
    shed_load_wait_secs: float = setting(
        30.0, "--shed-load: longest wait for a worker with room", env="KVMESH_SHED_LOAD_WAIT_SECS"
    )
    graceful_shutdown_grace_period_secs: float = setting(
        0.0,
        (
            "seconds after SIGTERM in which new requests are still served, for load balancers to "
            "notice that /ready says no"
        ),
        env="DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS",
    )
    http_graceful_shutdown_timeout_secs: int = setting(
        30,
        "longest wait for open requests after that",
        env="DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS",
    )
    http_keep_alive: int = setting(
        75,
        "seconds that an idle connection is kept open, longer than load balancers keep theirs",
        env="KVMESH_HTTP_KEEP_ALIVE",
    )
    http_svc_health_path: str = setting(
        "/health", "path of the health page", env="DYN_HTTP_SVC_HEALTH_PATH"
    )
    http_svc_live_path: str = setting(
        "/live", "path of the liveness page", env="DYN_HTTP_SVC_LIVE_PATH"
    )
    status_page: bool = setting(
        default=True,
        help_text="show people at / and /status what this frontend and its workers do",
        env="KVMESH_STATUS_PAGE",
    )
    body_limit_mb: int = setting(45, "largest request body, in MB", env="DYN_HTTP_BODY_LIMIT_MB")
    media_url_hosts: tuple[str, ...] = setting(
        (),
        (
            "host that images and other media may be fetched from: NAME, *.NAME, NAME:PORT, or "
            "NAME=NETWORK where it lies inside the house; may be repeated; without any, requests "
            "bring them as data URLs"
        ),
        env="KVMESH_MEDIA_URL_HOSTS",
    )
    media_item_mb: int = setting(
        20, "largest image or other medium, in MiB", env="KVMESH_MEDIA_ITEM_MB"
    )
    media_megapixels: int = setting(
        64, "most pixels of an image, in millions", env="KVMESH_MEDIA_MEGAPIXELS"
    )
    media_items: int = setting(
        MEDIA_MAX, "most images and other media of a request", env="KVMESH_MEDIA_ITEMS"
    )
    media_fetch_secs: float = setting(
        10.0, "longest time for fetching one of them", env="KVMESH_MEDIA_FETCH_SECS"
    )
    cache_dir: str = setting(
        "~/.cache/kvmesh", "where model files fetched from workers are kept", env="KVMESH_CACHE_DIR"
    )

    @property
    def media_bounds(self) -> MediaBounds:
        """Returns the bounds on media of requests."""
        return MediaBounds(
            item_bytes_max=self.media_item_mb * 2**20,
            request_bytes_max=min(self.body_limit_mb * 10**6, MediaBounds.request_bytes_max),
            pixels_max=self.media_megapixels * 10**6,
            items_max=self.media_items,
            fetch_s_max=self.media_fetch_secs,
        )

    def __post_init__(self) -> None:
        """Refuses numbers that would make a frontend that answers nothing.

        Raises:
            StartError: naming the setting.
        """
        check_numbers(self)
        check_texts(self)
        self.check_metrics()
