"""`python -m bench.faults.soak --minutes 30`: traffic at 70 % of what four workers serve, while one
is killed every 20 seconds.

Streams, whole answers, two choices at once, clients that leave; each answer is held against the
same request's answer before any fault. Every few minutes a worker is drained (SIGTERM) or stopped
and woken instead. Nothing may be lost.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import uvloop

from bench.compare.systems import machine
from bench.faults.arrivals import Lateness, offer
from bench.faults.client import Answer, Body, ask, call
from bench.faults.crowd import body_of, percentile, sleep_until
from bench.faults.fleet import Fleet, FleetShape, thaw
from bench.kit.usage import descendants, pss_mib, rss_mib
from starter.process import REPO

WORKERS = 4
LOAD_SHARE = 0.7
FAULT_EVERY_S = 20.0
DRAIN_EVERY = 9
STOP_EVERY = 7
"""Of the faults, each so-manieth is a drain, or a stop for some seconds, instead of a kill."""

STOPPED_S = 3.0
KINDS = 400
"""Different requests; each is asked once before the faults begin, and its answer kept."""

LEAVING_SHARE = 0.05
READ_EVERY_S = 60.0
PLACES = 32
"""Requests that one worker runs at once."""

CAPACITY_S = 8.0


def request_of(kind: int) -> Body:
    """Request of a kind: 6 in 10 stream, 3 in 10 are answered whole, 1 in 10 has two choices. 10 to
    400 tokens, most of them few.
    """
    rng = random.Random(kind)
    body = body_of(5_000_000 + kind, max_tokens=min(400, 10 + int(rng.expovariate(1 / 90))))
    if kind % 10 >= 7:
        body = {key: value for key, value in body.items() if not key.startswith("stream")}
    if kind % 10 == 6:
        body["n"] = 2
    return body


class Soak:
    """What was asked and what came of it."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._texts: dict[int, dict[int, str]] = {}
        self._rng = random.Random(11)
        self.sent = self.finished = self.left = self.wrong_text = self.wrong_usage = 0
        self.refused: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.lost_samples: list[dict[str, Any]] = []
        self.faults: Counter[str] = Counter()
        self.ttft_s: list[float] = []
        self.gap_max_s: list[float] = []

    async def learn(self) -> None:
        """Ask every kind once."""
        for at in range(0, KINDS, 40):
            kinds = range(at, min(KINDS, at + 40))
            answers = await asyncio.gather(
                *(ask(self._fleet.ports[0], request_of(kind)) for kind in kinds)
            )
            for kind, answer in zip(kinds, answers, strict=True):
                if answer.error:
                    raise RuntimeError(f"{answer.error} before any fault")
                self._texts[kind] = answer.texts

    async def capacity_per_s(self) -> float:
        """Requests that the fleet ends in a second when all its places are taken."""
        done, end = 0, time.monotonic() + CAPACITY_S

        async def client(number: int) -> None:
            nonlocal done
            rng = random.Random(number)
            while time.monotonic() < end:
                await ask(self._fleet.ports[0], request_of(rng.randrange(KINDS)))
                done += time.monotonic() < end

        await asyncio.gather(*(client(number) for number in range(WORKERS * PLACES)))
        return done / CAPACITY_S

    async def one(self, _: int) -> None:
        """One request, from its arrival on."""
        kind = self._rng.randrange(KINDS)
        self.sent += 1
        try:
            asked = await call(self._fleet.ports[0], request_of(kind))
        except OSError as error:
            self._lose(kind, f"no connection: {error.strerror}", Answer(time.monotonic()))
            return
        if self._rng.random() < LEAVING_SHARE:
            await asyncio.wait([asked.ended], timeout=self._rng.random())
            if not asked.ended.done():
                asked.leave()
                self.left += 1
                return
        self._judge(kind, await asked.ended)

    async def play_faults(self, until: float) -> None:
        """One worker after the other."""
        number = 0
        due_at = time.monotonic() + FAULT_EVERY_S
        while due_at < until:
            await sleep_until(due_at)
            await self._fault(number % WORKERS, number)
            number += 1
            due_at += FAULT_EVERY_S

    async def _fault(self, worker: int, number: int) -> None:
        fleet = self._fleet
        if number % STOP_EVERY == STOP_EVERY - 1:
            self.faults["stop"] += 1
            fleet.signal_worker(worker, signal.SIGSTOP)
            await asyncio.sleep(STOPPED_S)
            fleet.signal_worker(worker, signal.SIGCONT)
            return
        drain = number % DRAIN_EVERY == DRAIN_EVERY - 1
        self.faults["drain" if drain else "kill"] += 1
        fleet.signal_worker(worker, signal.SIGTERM if drain else signal.SIGKILL)
        code = await asyncio.to_thread(fleet.exit_code, worker)
        if drain and code != 0:
            self.faults[f"drain ended with {code}"] += 1
        fleet.restart_worker(worker)

    def _judge(self, kind: int, answer: Answer) -> None:
        if answer.status in (429, 503):
            self.refused[answer.error] += 1
        elif answer.error:
            self._lose(kind, answer.error, answer)
        else:
            self.finished += 1
            if "stream" in request_of(kind):
                self.ttft_s.append(answer.ttft_s)
                self.gap_max_s.append(max(answer.gaps_s(), default=0.0))
            if answer.texts != self._texts[kind]:
                self.wrong_text += 1
                self._sample(kind, "text", answer)
            body = request_of(kind)
            self.wrong_usage += answer.completion_tokens != body["max_tokens"] * body.get("n", 1)

    def _lose(self, kind: int, code: str, answer: Answer) -> None:
        self.lost[code] += 1
        self._sample(kind, code, answer)

    def _sample(self, kind: int, why: str, answer: Answer) -> None:
        if len(self.lost_samples) < 20:
            tail = b"".join(answer.parts)[-400:].decode(errors="replace")
            self.lost_samples.append(
                {
                    "kind": kind,
                    "why": why,
                    "at_unix_s": time.time(),
                    "asked_s_ago": time.monotonic() - answer.asked_at,
                    "tail": tail,
                }
            )

    def counts(self) -> dict[str, Any]:
        """So far."""
        return {
            "sent": self.sent,
            "finished": self.finished,
            "left": self.left,
            "refused": dict(self.refused),
            "lost": sum(self.lost.values()),
            "lost_by": dict(self.lost),
            "wrong_text": self.wrong_text,
            "wrong_usage": self.wrong_usage,
            "faults": dict(self.faults),
            "ttft_ms_p50_p99": [
                round(1000 * percentile(self.ttft_s, share), 1) for share in (0.5, 0.99)
            ],
            "longest_gap_ms_p50_p99_max": [
                round(1000 * percentile(self.gap_max_s, share), 1) for share in (0.5, 0.99, 1.0)
            ],
        }


def reading(fleet: Fleet, minute: float) -> dict[str, Any]:
    """Memory and descriptors of every process. A worker that was restarted begins anew."""
    found: dict[str, Any] = {"minute": round(minute, 1)}
    for name, pid in fleet.processes().items():
        measures: dict[str, Callable[[int], float]] = {
            "rss_mib": rss_mib,
            "pss_mib": pss_mib,
            "descriptors": _descriptors,
        }
        found[name] = {key: round(measure(pid), 1) for key, measure in measures.items()}
    frontend = fleet.frontends[0]
    names = {
        "tasks": "kvmesh_frontend_tasks",
        "moved": "kvmesh_frontend_migrations_total",
        "workers_lost": "kvmesh_frontend_workers_lost_total",
    }
    return found | {key: frontend.metric(name) for key, name in names.items()}


def _descriptors(pid: int) -> float:
    total = 0
    for each in descendants(pid):
        try:
            total += len(list(Path(f"/proc/{each}/fd").iterdir()))
        except OSError:
            continue
    return float(total)


async def soak(fleet: Fleet, minutes: float, out: Path) -> dict[str, Any]:
    """Run it; the result is written every minute."""
    run = Soak(fleet)
    await run.learn()
    capacity = await run.capacity_per_s()
    late = Lateness()
    began_at = time.monotonic()
    until = began_at + minutes * 60
    result: dict[str, Any] = {
        "machine": machine(),
        "minutes": minutes,
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(LOAD_SHARE * capacity, 1),
        "readings": [],
    }

    async def read() -> None:
        while True:
            now = await asyncio.to_thread(reading, fleet, (time.monotonic() - began_at) / 60)
            result["readings"].append(now)
            result.update(
                run.counts(),
                generator_late_ms_max=round(1000 * late.s_max),
                load_1min=os.getloadavg()[0],
            )
            await asyncio.to_thread(_write, out, result)
            print(f"{now['minute']:5.1f} min: {run.counts()}", flush=True)
            await asyncio.sleep(READ_EVERY_S)

    reader = asyncio.ensure_future(read())
    faults = asyncio.ensure_future(run.play_faults(until))
    await offer(LOAD_SHARE * capacity, minutes * 60, random.Random(5), late, run.one)
    await faults
    reader.cancel()
    # what the last clients left behind is gone by then, and so is it from the readings
    await asyncio.sleep(2)
    result["readings"].append(reading(fleet, minutes))
    result.update(
        run.counts(), generator_late_ms_max=round(1000 * late.s_max), load_1min=os.getloadavg()[0]
    )
    result["unanswered"] = (
        run.sent - run.finished - run.left - sum(run.refused.values()) - sum(run.lost.values())
    )
    result["lost"] += result["unanswered"]
    result["lost_samples"] = run.lost_samples
    _write(out, result)
    return result


def _write(out: Path, result: dict[str, Any]) -> None:
    out.write_text(json.dumps(result, indent=1) + "\n")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--name", default="local/soak", help="of the result file")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda _, __: sys.exit(1))  # so that the fleet ends too
    shape = FleetShape(
        workers=WORKERS,
        worker_options=("--max-running-requests", str(PLACES), "--log-level", "warning"),
    )
    out = REPO / "bench/results" / f"{arguments.name}.json"
    with ExitStack() as stack:
        fleet = Fleet(shape, stack, name="soak", speedup=1.0)
        stack.callback(thaw, fleet)
        fleet.start()
        result = uvloop.run(soak(fleet, arguments.minutes, out))
    print(json.dumps({key: value for key, value in result.items() if key != "readings"}, indent=1))
    print(
        "first reading",
        result["readings"][0],
        "last reading",
        result["readings"][-1],
        out,
        sep="\n",
    )
    return 1 if result["lost"] or result["wrong_text"] or result["wrong_usage"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
