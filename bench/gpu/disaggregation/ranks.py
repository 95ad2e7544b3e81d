"""Two ranks of data parallelism in each leg, all on one GPU, over the demo model: its weights are
real, so that it thinks and calls tools.
"""

import json
import random
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle, product
from typing import Any, Final

from bench.gpu.disaggregation.checks import STREAMS, freed, prompt, text_of
from bench.gpu.disaggregation.leaving import told
from bench.gpu.fleet import ENGINE, FAST_BEATS, NIXL, WORKERS, Answer, GpuFleet, Plan
from starter.process import REPO
from workers.demo_model import DEMO_REASONING_PARSER, DEMO_TOOL_CALL_PARSER, demo_model_dir

GOLDEN: Final = REPO / "tests/demo_model/golden.json"
"""Questions, and what transformers answers with the same weights."""

DEMO: Final = (
    f"{ENGINE.replace('--load-format dummy ', '').partition(' --tool-call-parser')[0]} "
    f"--tool-call-parser {DEMO_TOOL_CALL_PARSER} --reasoning-parser {DEMO_REASONING_PARSER}"
)
TWO_RANKS: Final = "--dp-size 2"
ONE_GPU: Final[Mapping[str, str]] = {
    "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
    "CUDA_VISIBLE_DEVICES": "0,-1,0",
    "SGLANG_ONE_VISIBLE_DEVICE_PER_PROCESS": "1",
}
"""SGLang refuses --gpu-id-step 0. With a step of 2, rank 1 has GPU id 2, and each rank's process is
given what stands at its id here. CUDA itself reads only up to the first id that does not exist.
"""

STEP: Final = "--gpu-id-step 2"

TELL: Final[Mapping[str, Any]] = {"nvext": {"extra_fields": ["worker_id"]}}


def ranks_plan(*, sim: str | None, fast_beats: bool) -> Plan:
    """A whole worker beside a prefill and a decode worker of two ranks each.

    Args:
        sim: arguments of simulated engines to take instead.
    """
    return Plan(
        demo_model_dir(),
        engine=sim or DEMO,
        views={"whole-1": ("w1",), "ranks": ("p1", "d1")},
        legs=TWO_RANKS if sim else f"{NIXL} {TWO_RANKS} {STEP}",
        environment={} if sim else ONE_GPU,
        program=FAST_BEATS if fast_beats else WORKERS,
    )


def chats(fleet: GpuFleet, _seed: int) -> dict[str, Any]:
    """The demo's goldens at each pair of ranks in turn, beside a whole worker's answers."""
    equal: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    different: list[Any] = []
    for entry, (p, d) in zip(_golden(), cycle(product((0, 1), (0, 1))), strict=False):
        whole = fleet.chat("whole-1", _body(entry))
        legs = fleet.chat("ranks", _body(entry) | _pinned(p, d))
        where = f"{p}→{d}"
        asked[where] += 1
        if told(legs) == told(whole) and _where(legs) == where:
            equal[where] += 1
        else:
            different.append([entry["name"], told(whole), told(legs), _where(legs)])
        if not isinstance(legs, str):
            said = told(legs)
            kinds["thinking"] += bool(said["thinking"])
            kinds["calls"] += bool(said["calls"])
            kinds["text that transformers gives too"] += (said["content"] or "").strip() == (
                entry["text"].rpartition("</think>")[2].strip()
            )
    return {"equal": equal, "of": asked, "with": kinds, "different": different}


def together(fleet: GpuFleet, seed: int) -> dict[str, Any]:
    """Completions at once where the router has them run, beside a whole worker's one by one."""
    random_ = random.Random(seed)
    prompts = [prompt(random_, 1_000) for _ in range(STREAMS)]
    alone = [fleet.ask("whole-1", each, 100) for each in prompts]
    with ThreadPoolExecutor(STREAMS) as pool:
        answers = list(pool.map(partial(fleet.ask, "ranks", tokens=100, **TELL), prompts))
    pairs = list(zip(answers, alone, strict=True))
    return {
        "answered": sum(isinstance(each, dict) for each in answers),
        "of": STREAMS,
        "equal_to_one_at_a_time": sum(text_of(one) == text_of(other) for one, other in pairs),
        "ranks": Counter(map(_where, answers)),
        "errors": sorted({each for each in answers if isinstance(each, str)}),
    }


def again(fleet: GpuFleet, seed: int) -> list[Any]:
    """Prompts that come twice: where, and how much of the second was cached."""
    random_ = random.Random(f"{seed} again")
    found: list[Any] = []
    for _ in range(8):
        asked = prompt(random_, 500)
        first, second = (fleet.ask("ranks", asked, 4, **TELL) for _ in range(2))
        cached = None if isinstance(second, str) else second["usage"]["prompt_tokens_details"]
        found.append([_where(first), _where(second), cached])
    return found


def freed_by_ranks(fleet: GpuFleet, seed: int) -> list[dict[str, Any]]:
    """How soon no rank holds anything of prompts whose clients left."""
    return freed(fleet, seed, "ranks")


RANKS: Final[Mapping[str, Callable[[GpuFleet, int], Any]]] = {
    "chats": chats,
    "together": together,
    "again": again,
    "freed": freed_by_ranks,
}


def _pinned(prefill: int, decode: int) -> dict[str, Any]:
    workers = {"prefill_worker_id": "p1", "decode_worker_id": "d1"}
    at = {"prefill_dp_rank": prefill, "dp_rank": decode}
    return {"nvext": {**TELL["nvext"], **workers, **at}}


def _where(answer: Answer) -> str:
    """The rank of each leg, as the answer tells them."""
    if isinstance(answer, str):
        return answer
    workers = answer["nvext"]["worker_id"]
    return f"{workers['prefill_dp_rank']}→{workers['decode_dp_rank']}"


def _golden() -> list[dict[str, Any]]:
    entries: list[dict[str, Any]] = json.loads(GOLDEN.read_text())
    return [entry for entry in entries if "messages" in entry]


def _body(entry: Mapping[str, Any]) -> dict[str, Any]:
    tools = entry.get("tools")
    return {
        "messages": entry["messages"],
        "max_tokens": entry["max_tokens"],
        "temperature": 0,
        "chat_template_kwargs": entry.get("template_kwargs", {}),
        **({"tools": tools} if tools else {}),
    }
