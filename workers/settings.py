"""A worker's own settings; every argument not named here belongs to its engine."""

from dataclasses import dataclass
from typing import Literal

from protocol.errors import StartError
from protocol.settings import LogLevel, setting


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What `python -m workers` takes besides the engine's arguments."""

    engine: Literal["sglang", "sim"] = setting("sglang", "engine to embed", env="KVMESH_ENGINE")
    frontend: tuple[str, ...] = setting(
        ("tcp://127.0.0.1:5550",),
        "mesh address of a frontend; repeatable; a DNS name stands for every address behind it",
        env="KVMESH_FRONTEND",
    )
    worker_id: str | None = setting(
        None, "name of this worker in logs and metrics; made from host and process if not given", env="KVMESH_WORKER_ID"
    )
    endpoint: str | None = setting(None, "dyn://namespace.component.endpoint; made from the worker's role if not given", env="DYN_ENDPOINT")
    mesh_key_file: str | None = setting(
        None, "file with 64 hex digits shared by the mesh; needed as soon as it leaves this host", env="KVMESH_MESH_KEY_FILE"
    )
    graceful_shutdown_timeout_secs: int = setting(
        900, "longest wait for running requests after SIGTERM", env="DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS"
    )
    log_level: LogLevel = setting("info", "least severe message to log, by the worker and by SGLang", env="KVMESH_LOG_LEVEL")

    def __post_init__(self) -> None:
        """Refuse what no worker could run with.

        Raises:
            StartError: a value is out of its range.
        """
        if self.graceful_shutdown_timeout_secs < 0:
            raise StartError(f"--graceful-shutdown-timeout-secs must be at least 0, not {self.graceful_shutdown_timeout_secs}")
