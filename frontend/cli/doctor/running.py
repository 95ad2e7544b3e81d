"""A running frontend is asked for its health, and that of its workers."""

from collections.abc import Iterator
from typing import Any, Final

from frontend.cli.direct_http import UNREACHABLE, get_json
from frontend.cli.doctor.finding import Finding, fail, ok, warn
from frontend.cli.doctor.subject import Subject
from protocol.process.packaging import VERSION

ANSWER_S_MAX: Final = 5.0

_SEE_LOG: Final = "See that worker's log; a hung engine is mended by starting the worker again."


def check(subject: Subject) -> Iterator[Finding]:
    """Yields what a frontend at the subject's URL says of itself and of each of its workers."""
    page = subject.url + subject.settings.http_svc_health_path
    try:
        health = get_json(page, timeout_s=ANSWER_S_MAX, also_errors=True)
        of_frontend = list(judge(subject.url, health))
    except UNREACHABLE as error:
        yield unreached(subject, error)
        return
    except (LookupError, TypeError, AttributeError):
        yield fail(
            "frontend",
            f"what answers at {subject.url} is no frontend of kvmesh",
            "Name the frontend with --url.",
        )
        return
    yield from of_frontend
    yield from _version(subject.url)


def unreached(subject: Subject, error: Exception) -> Finding:
    """Returns a finding on a frontend that does not answer; nothing is wrong with that unless it
    was named.
    """
    reason = getattr(error, "reason", error)
    why = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    if not subject.url_given and isinstance(reason, ConnectionRefusedError):
        return ok("frontend", f"none runs at {subject.url}")
    return fail(
        "frontend",
        f"no answer at {subject.url}: {why}",
        "Start it (kvmesh up, or python -m frontend), or look at its log.",
    )


def judge(url: str, health: dict[str, Any]) -> Iterator[Finding]:
    """Yields findings on the health page of a frontend."""
    status, reasons = health["status"], "; ".join(health["reasons"])
    says = f"{url} is {status}" + (f": {reasons}" if reasons else "")
    if status == "healthy":
        yield ok("frontend", says)
    elif status == "degraded":
        yield warn("frontend", says, "It serves; see to the workers below.")
    else:
        yield fail(
            "frontend", says, "Start a worker, or wait for one that loads; kvmesh up does both."
        )
    for worker in health["workers"]:
        yield _worker(worker)
    for loading in health["loading"]:
        yield warn(
            "worker",
            f"{loading['worker_id']} is loading {loading['model']}: {loading['phase']}, for "
            f"{loading['elapsed_s']:.0f} s",
            "Wait, or see its log if it takes minutes longer than usual.",
        )


def _worker(worker: dict[str, Any]) -> Finding:
    says = f"{worker['worker_id']} serves {worker['model']} ({worker['engine']})"
    if worker["unhealthy"]:
        return fail("worker", f"{says} and is unhealthy: {worker['unhealthy']}", _SEE_LOG)
    if not worker["ready"]:
        return warn(
            "worker",
            f"{says} and takes no work: it is {worker['phase']}",
            "Wait until it has left or joined.",
        )
    if worker["kv_events"] == "catching up":
        return warn(
            "worker",
            f"{says}, and its KV events are not all known",
            "It passes within seconds; else see whether the frontend reaches its KV events port.",
        )
    return ok("worker", f"{says}, {sum(worker['requests'])} requests on {_ranks(worker)}")


def _ranks(worker: dict[str, Any]) -> str:
    count = len(worker["requests"])
    return f"{count} ranks" if count > 1 else "1 rank"


def _version(url: str) -> Iterator[Finding]:
    try:
        there = get_json(f"{url}/version", timeout_s=ANSWER_S_MAX)["version"]
    except (*UNREACHABLE, LookupError, TypeError):
        return
    if there != VERSION:
        yield warn(
            "frontend",
            f"it is version {there}, and this host has {VERSION}",
            "Bring both to the same version.",
        )
