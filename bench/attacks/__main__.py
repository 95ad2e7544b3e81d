"""Attacks with pictures on a frontend that serves short chats meanwhile.

    python -m bench.attacks [--rounds 3] [--only WORDS] [--name attacks]

One frontend, a simulated worker that reads text and one that sees; a hundred short chats a second
come whatever else does, and one client asks about a picture of an innocent host after the other.
Phases with and without an attack take turns. Writes bench/results/NAME.json.
"""

import argparse
import http.client
import json
import sys
import threading
import time
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any, Final

from bench.attacks import bodies
from bench.attacks.bodies import MODEL, Attack, attacks
from bench.attacks.crowd import attacking
from bench.attacks.hostile import Hostile
from bench.compare.systems import machine
from bench.kit.load import run_load
from bench.kit.usage import peak_rss_mib, reset_peak_rss, rss_mib
from starter.fleet import Fleet
from workers.demo_model import demo_model_dir

RESULTS: Final = Path(__file__).parents[1] / "results"
TEXTS: Final = "reads"
RATE: Final = 100.0
ATTACK_S: Final = 8.0
QUIET_S: Final = 5.0
ANSWER_S_MAX: Final = 30.0
FAST: Final = ("--engine", "sim", "--sim-speedup", "0", "--context-length", "32768")


class Looking:
    """A client that asks about a picture of an innocent host again and again."""

    def __init__(self, port: int, url: str) -> None:
        self._port, self._body = port, bodies.chat(url)
        self._took_ms: list[float] = []
        threading.Thread(target=self._look, daemon=True).start()

    def took_ms(self) -> list[float]:
        """What those answers took that came since the last call."""
        took, self._took_ms = self._took_ms, []
        return took

    def _look(self) -> None:
        while True:
            begun = time.monotonic()
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_S_MAX)
            try:
                connection.request(
                    "POST",
                    "/v1/chat/completions",
                    self._body,
                    {"content-type": "application/json"},
                )
                connection.getresponse().read()
            except OSError:
                pass  # it took ANSWER_S_MAX, which is told
            finally:
                connection.close()
            self._took_ms.append(1_000 * (time.monotonic() - begun))
            time.sleep(0.1)


class Bench:
    """The fleet under attack, and who uses it."""

    def __init__(self, folder: Path, hostile: Hostile) -> None:
        self.fleet = Fleet(folder)
        self.hostile = hostile
        listed = [word for host in hostile.listed for word in ("--media-url-hosts", host)]
        options = (*self.fleet.addresses.options, "--log-level", "warning", *listed)
        self.frontend = self.fleet.launch(
            "frontend", [sys.executable, "-m", "bench.attacks.turning_names", *options]
        )
        self.fleet.worker(*FAST, "--served-model-name", TEXTS)
        vision = ("--model-path", str(demo_model_dir("vision")), "--served-model-name", MODEL)
        self.fleet.worker(*FAST, *vision)
        self.fleet.wait_for_workers(2)
        self._chats = folder / "chats.jsonl"
        chat = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 4}
        self._chats.write_text(json.dumps({"model": TEXTS, "stream": True, **chat}) + "\n")
        self._looking = Looking(self.fleet.http_port, hostile.good)

    def phase(self, seconds: float) -> dict[str, Any]:
        """What the innocent see for so long, and what the frontend takes meanwhile."""
        pid = self.frontend.popen.pid
        before_mib = rss_mib(pid)
        reset_peak_rss(pid)
        self._looking.took_ms()
        load = run_load(
            self.fleet.http_port,
            self._chats,
            rate=RATE,
            concurrency=1_000,
            duration_s=seconds,
            timeout_s=ANSWER_S_MAX,
            errors_allowed=True,
        )
        looked = self._looking.took_ms()
        return {
            "p50_ms": load["e2e_ms"]["p50"],
            "p99_ms": load["e2e_ms"]["p99"],
            "not_ok": load["started"] - load["ok"],
            "looked_p50_ms": median(looked) if looked else 1_000 * seconds,
            "before_mib": before_mib,
            "peak_mib": peak_rss_mib(pid),
            "after_mib": rss_mib(pid),
        }

    def attack(
        self, attack: Attack, quiet: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """One attack after a quiet phase: what came of it, and the quiet phase behind it."""
        reached = self.hostile.reached_inside
        with attacking(self.fleet.http_port, attack) as answers:
            under = self.phase(ATTACK_S)
        behind = self.phase(QUIET_S)
        without = {key: median((quiet[key], behind[key])) for key in quiet}
        told = {
            "answers": dict(answers),
            "reached_inside": self.hostile.reached_inside - reached,
            "before_mib": under["before_mib"],
            "peak_mib": under["peak_mib"],
            "after_mib": behind["after_mib"],
            "without": {key: without[key] for key in ("p50_ms", "p99_ms", "looked_p50_ms")},
            "under": {key: under[key] for key in ("p50_ms", "p99_ms", "looked_p50_ms", "not_ok")},
        }
        return told, behind


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    parser.add_argument("--name", default="attacks")
    args = parser.parse_args()
    with TemporaryDirectory() as folder, Hostile(bodies.small_picture()) as hostile:
        bench = Bench(Path(folder), hostile)
        chosen = [attack for attack in attacks(hostile) if args.only in attack.name]
        report: dict[str, Any] = {attack.name: [] for attack in chosen}
        try:
            bench.phase(QUIET_S)
            quiet = bench.phase(QUIET_S)
            for _ in range(args.rounds):
                for attack in chosen:
                    told, quiet = bench.attack(attack, quiet)
                    report[attack.name].append(told)
                    print(attack.name, json.dumps(told), flush=True)
        finally:
            bench.fleet.stop()
    found = {"machine": machine(), "attacks": report}
    (RESULTS / f"{args.name}.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
