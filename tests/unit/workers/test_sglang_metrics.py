"""What SGLang counts by priority is one figure to whoever asked for no priorities."""

import subprocess
import sys

from prometheus_client.parser import text_string_to_metric_families

COUNTED = """
import sys
from workers.sglang.metrics import count_in_own_files, sglang_metrics

count_in_own_files()
from prometheus_client import Counter, Gauge, Histogram

running = Gauge("sglang:running", "r", ["tp_rank", "priority"], multiprocess_mode="mostrecent")
served = Counter("sglang:served", "s", ["priority"])
took = Histogram("sglang:took", "t", ["priority"], buckets=[1.0])
Gauge("others", "o", multiprocess_mode="mostrecent").set(1)
for priority, count in ("", 5), ("0", 3), ("101", 2):
    running.labels("0", priority).set(count)
for priority, seconds in ("0", 0.5), ("0", 4.0), ("101", 2.0):
    served.labels(priority).inc()
    took.labels(priority).observe(seconds)
page = sglang_metrics({"worker_id": "w"}, by_priority=sys.argv[1] == "apart")
sys.stdout.write(page.decode())
"""


def counted(how: str) -> dict[tuple[str, ...], float]:
    """Each sample's value, by its name and the texts of its labels."""
    page = subprocess.run(
        [sys.executable, "-c", COUNTED, how], capture_output=True, text=True, check=True
    ).stdout
    return {
        (sample.name, *(text for _, text in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
    }


def test_figures_of_all_priorities_are_one() -> None:
    assert counted("together") == {
        ("sglang:running", "0", "w"): 5,  # of a gauge SGLang writes the total down itself
        ("sglang:served_total", "w"): 3,
        ("sglang:took_bucket", "1.0", "w"): 1,
        ("sglang:took_bucket", "+Inf", "w"): 3,
        ("sglang:took_count", "w"): 3,
        ("sglang:took_sum", "w"): 6.5,
    }


def test_who_asked_for_priorities_sees_each() -> None:
    apart = counted("apart")
    assert {key: apart[key] for key in apart if key[0] == "sglang:running"} == {
        ("sglang:running", "", "0", "w"): 5,
        ("sglang:running", "0", "0", "w"): 3,
        ("sglang:running", "101", "0", "w"): 2,
    }
    assert apart["sglang:took_sum", "0", "w"] == 4.5
    assert apart["sglang:took_sum", "101", "w"] == 2.0
