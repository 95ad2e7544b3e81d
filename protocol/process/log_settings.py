"""Declares the settings of what a process tells of itself: its log and its traces."""

from dataclasses import dataclass

from protocol.process.settings import LogLevel, setting


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """LogSettings are those of a process's settings that are about its log and its traces."""

    log_level: LogLevel = setting(
        "info",
        "least severe message to log; a worker's SGLang heeds it too",
        env="KVMESH_LOG_LEVEL",
    )
    log_json: bool = setting(
        default=False,
        help_text=(
            "log a JSON object a line, requests with a field for each figure; SGLang's own "
            "processes log as ever"
        ),
        env="KVMESH_LOG_JSON",
        also_env="DYN_LOGGING_JSONL",
    )
    otel_export_enabled: bool | None = setting(
        None,
        (
            "record spans of requests, and have a worker's SGLang record its own; "
            "OTEL_EXPORTER_OTLP_ENDPOINT says where they go, and without either none are recorded"
        ),
        env="OTEL_EXPORT_ENABLED",
    )
