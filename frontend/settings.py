"""The frontend's settings."""

from dataclasses import dataclass
from typing import Literal

from frontend.text.tokenizer import Backend
from protocol.errors import StartError
from protocol.settings import LogLevel, setting

PORT_MAX = 65_535

RouterMode = Literal["least-loaded", "round-robin"]


@dataclass(frozen=True, kw_only=True)
class FrontendSettings:
    """What `python -m frontend` takes."""

    http_host: str = setting("127.0.0.1", "address to serve HTTP on", env="KVMESH_HTTP_HOST")
    http_port: int = setting(8000, "port to serve HTTP on", env="KVMESH_HTTP_PORT")
    mesh_bind: str = setting("tcp://127.0.0.1:5550", "address that workers connect to", env="KVMESH_MESH_BIND")
    mesh_key_file: str | None = setting(
        None, "file with 64 hex digits shared by the mesh; needed as soon as it leaves this host", env="KVMESH_MESH_KEY_FILE"
    )
    router_mode: RouterMode = setting("least-loaded", "how a worker is chosen", env="KVMESH_ROUTER_MODE")
    tokenizer_backend: Backend = setting("auto", "auto takes fastokens where it agrees with Hugging Face", env="KVMESH_TOKENIZER_BACKEND")
    request_timeout: float = setting(600.0, "seconds after which a request is ended", env="KVMESH_REQUEST_TIMEOUT")
    queue_size: int = setting(1024, "requests that may wait for a worker with room", env="KVMESH_QUEUE_SIZE")
    queue_timeout: float = setting(30.0, "seconds a request may wait for a worker with room", env="KVMESH_QUEUE_TIMEOUT")
    http_graceful_shutdown_timeout_secs: int = setting(
        30, "longest wait for open requests after SIGTERM", env="DYN_HTTP_GRACEFUL_SHUTDOWN_TIMEOUT_SECS"
    )
    body_limit_mb: int = setting(45, "largest request body, in MB", env="DYN_HTTP_BODY_LIMIT_MB")
    cache_dir: str = setting("~/.cache/kvmesh", "where model files fetched from workers are kept", env="KVMESH_CACHE_DIR")
    log_level: LogLevel = setting("info", "least severe message to log", env="KVMESH_LOG_LEVEL")

    def __post_init__(self) -> None:
        """Refuse numbers that would make a frontend that answers nothing.

        Raises:
            StartError: naming the setting.
        """
        for name in ("request_timeout", "queue_timeout", "body_limit_mb"):
            if getattr(self, name) <= 0:
                raise StartError(f"--{name.replace('_', '-')} must be above 0, got {getattr(self, name)}")
        for name in ("queue_size", "http_graceful_shutdown_timeout_secs"):
            if getattr(self, name) < 0:
                raise StartError(f"--{name.replace('_', '-')} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.http_port <= PORT_MAX:
            raise StartError(f"--http-port must be 0 to {PORT_MAX}, got {self.http_port}")
