"""Requests that come together over a fresh prefix, over real processes: it is computed once."""

from concurrent.futures import ThreadPoolExecutor

from tests.fleet.test_kv_routing import ask, prompt, start
from tests.kit.fleet import Fleet

PACED = (
    "--served-model-name",
    "demo",
    "--sim-speedup",
    "1",
    "--context-length",
    "8192",
    "--kv-block-size",
    "16",
)
SHARED_TOKENS, TOGETHER = 1_024, 8


def test_one_of_those_who_come_together_computes_what_they_share(fleet: Fleet) -> None:
    start(fleet, workers=1, worker=PACED)
    shared = prompt(SHARED_TOKENS, 1)
    with fleet.client() as client, ThreadPoolExecutor(TOGETHER) as together:
        told = together.map(
            lambda seed: ask(client, shared + prompt(64, seed)), range(2, 2 + TOGETHER)
        )
        cached = sorted(each["actual"] for each in told)
    assert cached == [0] + [SHARED_TOKENS] * (TOGETHER - 1)
