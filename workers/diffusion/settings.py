"""Where what a worker makes is kept, how much of it and how long, is said by these settings."""

from dataclasses import dataclass
from typing import Final

from protocol.process.settings import setting
from protocol.process.start_error import StartError

LIFETIME_S_MAX: Final = 366 * 86_400
"""Bounds a lifetime to a year: no worker runs as long, and times stay those of a calendar."""

_SCHEMES: Final = ("http://", "https://")


@dataclass(frozen=True, kw_only=True)
class OutputSettings:
    """OutputSettings are those of a worker's settings that are about pictures and videos which it
    makes.
    """

    media_output_fs_url: str | None = setting(
        None,
        (
            "fsspec URL where pictures and videos are stored, and stay (file, s3, memory ...); "
            "in a folder of the worker's own, for a while, if not given"
        ),
        env="DYN_MEDIA_OUTPUT_FS_URL",
    )
    media_output_http_url: str | None = setting(
        None,
        ("URL under which clients find what is stored there; through the frontends if not given"),
        env="DYN_MEDIA_OUTPUT_HTTP_URL",
    )
    media_output_mb: int = setting(
        4_096,
        "megabytes of pictures and videos that are kept in the worker's own folder",
        env="KVMESH_MEDIA_OUTPUT_MB",
    )
    media_output_lifetime_secs: float = setting(
        3_600.0,
        "seconds for which what was made can be fetched from the worker",
        env="KVMESH_MEDIA_OUTPUT_LIFETIME_SECS",
    )

    def check_outputs(self) -> None:
        """Refuses what no worker could keep anything by.

        Raises:
            StartError: a value is out of its range, or one goes with another that is missing.
        """
        if self.media_output_mb < 1:
            raise StartError(f"--media-output-mb must be at least 1, not {self.media_output_mb}")
        if not 1 <= self.media_output_lifetime_secs <= LIFETIME_S_MAX:
            raise StartError(
                f"--media-output-lifetime-secs must be 1 to {LIFETIME_S_MAX}, not "
                f"{self.media_output_lifetime_secs}"
            )
        url = self.media_output_http_url
        if url is not None and self.media_output_fs_url is None:
            raise StartError(
                "--media-output-http-url goes with --media-output-fs-url: where clients find what "
                "is stored, and where that is"
            )
        if url is not None and not url.startswith(_SCHEMES):
            raise StartError(f"--media-output-http-url {url}: is no http or https URL")
