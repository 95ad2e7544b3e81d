"""What the parts of a frontend count by themselves is read at every scrape."""

from functools import partial
from typing import Any

from frontend.assembly import Assembly, Surroundings
from frontend.model_readings import model_readings
from frontend.observe.loop_lag import LoopLag
from frontend.readings import loop_readings, router_readings, tokenizer_readings
from frontend.settings import FrontendSettings
from frontend.text.tokenizing.segment_cache import SegmentCache
from frontend.worker_readings import worker_readings


def read_at_scrapes(
    settings: FrontendSettings,
    around: Surroundings,
    assembly: Assembly[Any],
    segments: SegmentCache,
    lag: LoopLag,
) -> None:
    """Has metrics read what is true of the router, the tokenizer's cache, the loop, models and
    workers.
    """
    router = around.metrics.router
    for readings in (
        partial(router_readings, assembly.registry, assembly.budget, around.subscriber),
        partial(tokenizer_readings, segments, settings.metrics_prefix),
        partial(loop_readings, lag, settings.metrics_prefix),
        partial(model_readings, assembly.registry, settings),
        partial(
            worker_readings,
            assembly.registry,
            router,
            router_id=around.frontend_id,
            prefix=settings.metrics_prefix,
        ),
    ):
        around.metrics.also_read(readings)
