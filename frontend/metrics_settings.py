"""Declares the settings of a frontend's metrics."""

import math
import re
from dataclasses import dataclass
from typing import Final

from protocol.process.settings import setting
from protocol.process.start_error import StartError

BOUNDS_MAX: Final = 512
"""Bounds the buckets of one histogram: every scrape shows them for every model."""

HISTOGRAMS: Final = ("request_duration", "ttft", "itl", "input_sequence", "output_sequence")
"""Names the histograms whose buckets are settings."""

_name: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*").fullmatch


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """MetricsSettings are those of a frontend's settings that are about its metrics."""

    metrics_prefix: str = setting(
        "dynamo_frontend",
        "beginning of the names of those metrics that the reference product's frontend has too",
        env="DYN_METRICS_PREFIX",
    )
    metrics_request_duration_min: float = setting(
        1.0,
        "least seconds that the histogram of request durations tells apart",
        env="DYN_METRICS_REQUEST_DURATION_MIN",
    )
    metrics_request_duration_max: float = setting(
        512.0, "most seconds that it tells apart", env="DYN_METRICS_REQUEST_DURATION_MAX"
    )
    metrics_request_duration_count: int = setting(
        10, "its buckets", env="DYN_METRICS_REQUEST_DURATION_COUNT"
    )
    metrics_ttft_min: float = setting(
        0.001,
        "least seconds that the histogram of times to the first token tells apart",
        env="DYN_METRICS_TTFT_MIN",
    )
    metrics_ttft_max: float = setting(
        480.0, "most seconds that it tells apart", env="DYN_METRICS_TTFT_MAX"
    )
    metrics_ttft_count: int = setting(18, "its buckets", env="DYN_METRICS_TTFT_COUNT")
    metrics_itl_min: float = setting(
        0.001,
        "least seconds that the histogram of times between tokens tells apart",
        env="DYN_METRICS_ITL_MIN",
    )
    metrics_itl_max: float = setting(
        2.0, "most seconds that it tells apart", env="DYN_METRICS_ITL_MAX"
    )
    metrics_itl_count: int = setting(13, "its buckets", env="DYN_METRICS_ITL_COUNT")
    metrics_input_sequence_min: float = setting(
        50.0,
        "least tokens that the histograms of prompts tell apart",
        env="DYN_METRICS_INPUT_SEQUENCE_MIN",
    )
    metrics_input_sequence_max: float = setting(
        128_000.0, "most tokens that they tell apart", env="DYN_METRICS_INPUT_SEQUENCE_MAX"
    )
    metrics_input_sequence_count: int = setting(
        12, "their buckets", env="DYN_METRICS_INPUT_SEQUENCE_COUNT"
    )
    metrics_output_sequence_min: float = setting(
        50.0,
        "least tokens that the histogram of answers tells apart",
        env="DYN_METRICS_OUTPUT_SEQUENCE_MIN",
    )
    metrics_output_sequence_max: float = setting(
        32_000.0, "most tokens that it tells apart", env="DYN_METRICS_OUTPUT_SEQUENCE_MAX"
    )
    metrics_output_sequence_count: int = setting(
        10, "its buckets", env="DYN_METRICS_OUTPUT_SEQUENCE_COUNT"
    )

    def layout(self, histogram: str) -> tuple[float, float, int]:
        """Returns the least and the most that one of HISTOGRAMS tells apart, and in how many
        buckets.
        """
        name = f"metrics_{histogram}"
        return (
            getattr(self, f"{name}_min"),
            getattr(self, f"{name}_max"),
            getattr(self, f"{name}_count"),
        )

    def check_metrics(self) -> None:
        """Refuses what Prometheus would not take, or what no histogram can be laid out by.

        Raises:
            StartError: naming the setting.
        """
        if not _name(self.metrics_prefix):
            raise StartError(
                "--metrics-prefix must be of letters, digits and underscores, and not begin with "
                f"a digit, got {self.metrics_prefix!r}"
            )
        for histogram in HISTOGRAMS:
            lowest, highest, count = self.layout(histogram)
            flag = f"--metrics-{histogram.replace('_', '-')}"
            if not (math.isfinite(highest) and 0 < lowest < highest):
                raise StartError(
                    f"{flag}-min must be above 0 and below {flag}-max, got {lowest} and {highest}"
                )
            if not 1 <= count <= BOUNDS_MAX:
                raise StartError(f"{flag}-count must be 1 to {BOUNDS_MAX}, got {count}")
