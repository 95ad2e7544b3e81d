"""A worker has settings of its own; every argument not named here belongs to its engine."""

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from protocol.limits import PORT_MAX
from protocol.process.log_settings import LogSettings
from protocol.process.own_directory import OWN_MESH
from protocol.process.settings import setting
from protocol.process.start_error import StartError
from workers.demo_model import Demo
from workers.diffusion.settings import OutputSettings
from workers.diffusion.usual import UsualSettings
from workers.kind_flags import KindFlags
from workers.mesh.endpoint import check_endpoint
from workers.nixl.memory import NixlUse

KV_BLOCK_TOKENS_MAX = 4_096
"""A KV block has at most this many tokens: larger ones would match hardly any prefix."""

HEALTH_CHECK_S_MIN = 0.1
"""Waits of health checks are at least this many seconds: silences are looked at four times a
second.
"""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(KindFlags, OutputSettings, UsualSettings, LogSettings):
    """WorkerSettings are what `python -m workers` takes besides the engine's arguments."""

    engine: Literal["sglang", "sim"] = setting("sglang", "engine to embed", env="KVMESH_ENGINE")
    demo: Demo = setting(
        "text", "demo model to serve where no --model-path says another", env="KVMESH_DEMO"
    )
    frontend: tuple[str, ...] = setting(
        (OWN_MESH,),
        "mesh address of a frontend; repeatable; a DNS name stands for every address behind it",
        env="KVMESH_FRONTEND",
    )
    worker_id: str | None = setting(
        None,
        "name of this worker in logs and metrics; made from host and process if not given",
        env="KVMESH_WORKER_ID",
    )
    use_sglang_tokenizer: bool = setting(
        default=False,
        help_text=(
            "make tokens of prompts and text of tokens here, with SGLang's own tokenizer and "
            "chat template"
        ),
        env="DYN_SGL_USE_TOKENIZER",
    )
    custom_jinja_template: str | None = setting(
        None,
        "Jinja file instead of the model's own chat template; ~ and $VAR are expanded",
        env="DYN_CUSTOM_JINJA_TEMPLATE",
    )
    endpoint: str | None = setting(
        None,
        "dyn://namespace.component.endpoint; made from what the worker serves if not given",
        env="DYN_ENDPOINT",
    )
    mesh_key_file: str | None = setting(
        None,
        "file with 64 hex digits shared by the mesh; needed as soon as it leaves this host",
        env="KVMESH_MESH_KEY_FILE",
    )
    graceful_shutdown_timeout_secs: int = setting(
        900,
        "longest wait for running requests after SIGTERM",
        env="DYN_RUNTIME_GRACEFUL_SHUTDOWN_TIMEOUT_SECS",
    )
    graceful_shutdown_grace_period_secs: float = setting(
        0.0,
        (
            "after SIGTERM go on taking requests for this long, and do not leave earlier; "
            "frontends stop sending as soon as they are told"
        ),
        env="DYN_GRACEFUL_SHUTDOWN_GRACE_PERIOD_SECS",
    )
    health_check_enabled: bool = setting(
        default=True,
        help_text="send a canary request to each rank that is silent",
        env="DYN_HEALTH_CHECK_ENABLED",
    )
    canary_wait_time: float = setting(
        10.0,
        "seconds without output after which an idle rank is sent a canary",
        env="DYN_CANARY_WAIT_TIME",
    )
    health_check_request_timeout: float = setting(
        3.0,
        "seconds without an answer to a canary after which the worker is unhealthy",
        env="DYN_HEALTH_CHECK_REQUEST_TIMEOUT",
    )
    health_check_payload: str | None = setting(
        None,
        (
            'JSON, or @FILE with it, that changes the canary: {"token_ids": [1], "max_new_tokens": '
            "1}; the reference product's form is taken too"
        ),
        env="DYN_HEALTH_CHECK_PAYLOAD",
    )
    system_port: int = setting(
        -1,
        "port of /live, /ready, /health and /metrics; 0 for any free one, -1 for none",
        env="DYN_SYSTEM_PORT",
    )
    system_host: str = setting("127.0.0.1", "host that they listen on", env="DYN_SYSTEM_HOST")
    system_health_path: str = setting(
        "/health", "path of the page /health", env="DYN_SYSTEM_HEALTH_PATH"
    )
    system_live_path: str = setting("/live", "path of the page /live", env="DYN_SYSTEM_LIVE_PATH")
    system_token_file: str | None = setting(
        None,
        (
            "file with a token that must be shown to have something done there; needed where "
            "system-host is not loopback"
        ),
        env="KVMESH_SYSTEM_TOKEN_FILE",
    )
    kv_events: bool = setting(
        default=True,
        help_text="publish KV-cache events, so that frontends route by what is cached here",
        env="KVMESH_KV_EVENTS",
    )
    kv_block_size: int = setting(
        64,
        "tokens of a block in KV events; rounded up to whole pages of the engine",
        env="KVMESH_KV_BLOCK_SIZE",
    )
    kv_host: str | None = setting(
        None,
        "host under which frontends on other machines reach the KV events; found out if not given",
        env="KVMESH_KV_HOST",
    )
    kv_port: int = setting(
        0,
        "port of the KV events, snapshots on the next one; 0 for any free ones",
        env="KVMESH_KV_PORT",
    )
    encodings_port: int = setting(
        0,
        (
            "port at which other workers fetch what this one makes of pictures, if it makes any; "
            "0 for any free one"
        ),
        env="KVMESH_ENCODINGS_PORT",
    )
    encodings_nixl: NixlUse = setting(
        "auto",
        (
            "read what was made of pictures out of the other worker's memory where both have NIXL: "
            "auto on one host, network also between hosts, over ports that ask for no key"
        ),
        env="KVMESH_ENCODINGS_NIXL",
    )
    encoder_cache_mb: int = setting(
        4_096,
        "megabytes of what was made of pictures that are kept for when they are asked for again",
        env="KVMESH_ENCODER_CACHE_MB",
    )
    disagg_config: str | None = setting(
        None,
        (
            "YAML file with a section of engine arguments for each of several kinds of worker; "
            "arguments given here win over it; excludes the engine's own --config"
        ),
        env="DYN_SGL_DISAGG_CONFIG",
    )
    disagg_config_key: str | None = setting(
        None, "key of this worker's section in that file", env="DYN_SGL_DISAGG_CONFIG_KEY"
    )
    dyn_tool_call_parser: str | None = setting(
        None,
        (
            "SGLang's parser of tool calls, or auto: found out from the chat template; none if "
            "not given"
        ),
        env="DYN_TOOL_CALL_PARSER",
    )
    dyn_reasoning_parser: str | None = setting(
        None,
        "SGLang's parser of thinking, or auto: found out from the chat template; none if not given",
        env="DYN_REASONING_PARSER",
    )

    def chat_template(self) -> Path | None:
        """Returns the file of `custom_jinja_template`; None if none was given.

        Raises:
            StartError: there is none.
        """
        if self.custom_jinja_template is None:
            return None
        path = Path(os.path.expandvars(os.path.expanduser(self.custom_jinja_template)))  # noqa: PTH111 - pathlib has no expandvars
        if not path.is_file():
            raise StartError(
                f"--custom-jinja-template {self.custom_jinja_template}: there is no file {path}"
            )
        return path.resolve()

    def __post_init__(self) -> None:
        """Refuses settings that no worker could run with.

        Raises:
            StartError: a value is out of its range.
        """
        self._check_words()
        self._check_seconds()
        self._check_addresses()
        if not 1 <= self.kv_block_size <= KV_BLOCK_TOKENS_MAX:
            raise StartError(
                f"--kv-block-size must be 1 to {KV_BLOCK_TOKENS_MAX}, not {self.kv_block_size}"
            )
        if self.encoder_cache_mb < 0:
            raise StartError(f"--encoder-cache-mb must be at least 0, not {self.encoder_cache_mb}")

    def _check_seconds(self) -> None:
        if self.graceful_shutdown_timeout_secs < 0:
            raise StartError(
                "--graceful-shutdown-timeout-secs must be at least 0, not "
                f"{self.graceful_shutdown_timeout_secs}"
            )
        if not 0 <= self.graceful_shutdown_grace_period_secs < math.inf:
            raise StartError(
                "--graceful-shutdown-grace-period-secs must be at least 0, not "
                f"{self.graceful_shutdown_grace_period_secs}"
            )
        for flag, seconds in (
            ("--canary-wait-time", self.canary_wait_time),
            ("--health-check-request-timeout", self.health_check_request_timeout),
        ):
            if not HEALTH_CHECK_S_MIN <= seconds < math.inf:
                raise StartError(
                    f"{flag} must be at least {HEALTH_CHECK_S_MIN} seconds, not {seconds}"
                )

    def _check_addresses(self) -> None:
        for flag, port in (("--kv-port", self.kv_port), ("--encodings-port", self.encodings_port)):
            if not 0 <= port < PORT_MAX:
                raise StartError(f"{flag} must be 0 to {PORT_MAX - 1}, not {port}")
        if not -1 <= self.system_port <= PORT_MAX:
            raise StartError(f"--system-port must be -1 to {PORT_MAX}, not {self.system_port}")
        if not self.system_host:
            raise StartError("--system-host must not be empty")
        for flag, path in (
            ("--system-health-path", self.system_health_path),
            ("--system-live-path", self.system_live_path),
        ):
            if not path.startswith("/"):
                raise StartError(f"{flag} must begin with /, not be {path!r}")

    def _check_words(self) -> None:
        self.check_kind()
        self.check_outputs()
        self.usual()
        if self.endpoint is not None:
            check_endpoint(self.endpoint)
        if bool(self.disagg_config) != bool(self.disagg_config_key):
            raise StartError(
                "--disagg-config and --disagg-config-key go together: a file, and the key of this "
                "worker's section in it"
            )
        if self.custom_jinja_template is not None and self.use_sglang_tokenizer:
            raise StartError(
                "--custom-jinja-template and --use-sglang-tokenizer exclude each other: the "
                "first is for the frontend to render;"
                " SGLang's own template is set by --chat-template"
            )
