"""One case on one system: what clients saw, what was refused, and the CPU it took on the host."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.gpu.cases import Case
from bench.kit.load import run_load
from bench.kit.running import Running
from bench.kit.usage import descendants, kernel_cpu_s, own_cpu_s

REQUEST_S_MAX = 120.0
SCHEDULER_TITLES = ("sglang::scheduler",)
"""A scheduler that has work never waits: its CPU says nothing of a system."""


def _of_living(seconds: Callable[[int], float], pid: int) -> float:
    try:
        return seconds(pid)
    except OSError:
        return 0.0


def _is_scheduler(pid: int) -> bool:
    try:
        return (
            Path(f"/proc/{pid}/cmdline")
            .read_bytes()
            .decode(errors="replace")
            .startswith(SCHEDULER_TITLES)
        )
    except OSError:
        return False


def cpu_s(running: Running) -> tuple[float, float, float]:
    """CPU seconds so far of the process that speaks HTTP, those of them that the kernel took, and
    of all processes of the system but the schedulers.
    """
    family = {pid for leader in running.leaders for pid in descendants(leader)}
    return (
        _of_living(own_cpu_s, running.frontend),
        _of_living(kernel_cpu_s, running.frontend),
        sum(_of_living(own_cpu_s, pid) for pid in family if not _is_scheduler(pid)),
    )


def measure(running: Running, case: Case, bodies: Path) -> dict[str, Any]:
    """One round. Raises bench.kit.load.LoadFailed where the load generator itself cannot go on."""
    before = cpu_s(running)
    result = run_load(
        running.port,
        bodies,
        concurrency=case.concurrency,
        requests=case.requests,
        timeout_s=REQUEST_S_MAX,
        errors_allowed=True,
    )
    after = cpu_s(running)
    statuses = {code: count for code, count in result["status"].items() if not code.startswith("2")}
    measures: dict[str, Any] = {
        "ok": result["ok"],
        "not_ok": result["started"] - result["ok"],
        "why": statuses | {kind: count for kind, count in result["errors"].items() if count},
        "tokens_per_s": result["tokens_per_s"],
        "tokens_per_answer": result["tokens"] / max(1, result["ok"]),
        "prompt_tokens": result["prompt_tokens"] / max(1, result["ok"]),
        "cached_share": result["cached_tokens"] / max(1, result["prompt_tokens"]),
        "frontend_cpu_s": after[0] - before[0],
        "frontend_kernel_cpu_s": after[1] - before[1],
        "cpu_without_schedulers_s": after[2] - before[2],
        "events": result["events"],
        "loadgen_cpu_s": result["loadgen_cpu_s"],
        "wall_s": result["wall_s"],
    }
    for key in ("ttft_ms", "gap_ms", "e2e_ms"):
        for figure in ("p50", "p99", "mean"):
            measures[f"{key[:-3]}_{figure}_ms"] = result[key] and result[key][figure]
    return measures


def warm_up(running: Running, case: Case, bodies: Path) -> None:
    """Lets engines compile what the case needs; what it takes and what is refused do not count."""
    run_load(
        running.port,
        bodies,
        concurrency=min(case.concurrency, case.warm_up_requests),
        requests=case.warm_up_requests,
        timeout_s=REQUEST_S_MAX,
        errors_allowed=True,
    )
