"""Serves a model with one frontend and N workers on this host, of which Ctrl-C ends all: `kvmesh
up`.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import Sequence
from typing import Any

from frontend.cli.addresses import http_url, mesh_address_to_dial
from frontend.cli.child import Child
from frontend.cli.direct_http import UNREACHABLE, get_json
from frontend.cli.gpus import visible_gpus
from frontend.cli.plan import PlannedWorker, Wanted, plan
from frontend.cli.progress import Progress, complain, how_to_join, how_to_talk, say
from frontend.cli.turns import Turns
from frontend.cli.up_options import FRONTEND_FLAGS
from frontend.models.services import use_of
from frontend.settings import FrontendSettings
from protocol.process.settings import parse_settings
from protocol.process.start_error import EXIT_CANNOT_START, StartError

STOP_S_MAX = 10
"""Bounds how long children may take to finish what runs after Ctrl-C; then they are killed."""

RESTARTS_MAX = 5
"""Bounds how often a worker may crash without serving in between before it is given up."""

RESTART_PAUSE_S = 2.0
POLL_S = 0.5


def run(options: argparse.Namespace, engine_argv: Sequence[str]) -> int:
    """Runs frontend and workers until Ctrl-C; returns the exit code: 0 after Ctrl-C, that of the
    part that could not start otherwise.
    """
    given = {
        flag: getattr(options, flag.removeprefix("--").replace("-", "_")) for flag in FRONTEND_FLAGS
    }
    frontend_argv = [
        item for flag, value in given.items() if value is not None for item in (flag, value)
    ]
    try:
        settings = parse_settings(FrontendSettings, frontend_argv, prog="kvmesh up")
        if not settings.http_port:
            raise StartError(
                "--http-port must be 1 to 65535 here, so that it is known where the frontend serves"
            )
        wanted = Wanted(
            whole=options.workers,
            prefill=options.prefill_workers,
            decode=options.decode_workers,
            encode=options.encode_workers,
            process=options.processors,
            simulated=options.engine == "sim",
            gpu_share=options.gpu_share,
        )
        planned = plan(wanted, engine_argv, gpus=None if wanted.simulated else visible_gpus())
    except StartError as error:
        complain(f"kvmesh up cannot start: {error}")
        return EXIT_CANNOT_START
    return asyncio.run(_Host(options, settings, planned).run())


class _Host:
    """A _Host runs the processes of one host and tells the person at the terminal of them."""

    def __init__(
        self,
        options: argparse.Namespace,
        settings: FrontendSettings,
        planned: Sequence[PlannedWorker],
    ) -> None:
        self._url = http_url(settings.http_host, settings.http_port)
        self._health_url = self._url + settings.http_svc_health_path
        key = ["--mesh-key-file", settings.mesh_key_file] if settings.mesh_key_file else []
        model = ["--model-path", options.model_path] if options.model_path else []
        model += ["--demo", options.demo] if options.demo else []
        dialled = ["--frontend", mesh_address_to_dial(settings.mesh_bind), *key]
        self._how_to_join = how_to_join(dialled)
        self._frontend = Child(
            "frontend",
            [
                *(
                    "-m",
                    "frontend",
                    "--http-host",
                    settings.http_host,
                    "--http-port",
                    str(settings.http_port),
                ),
                *("--frontend-processes", str(settings.frontend_processes)),
                *("--mesh-bind", settings.mesh_bind, "--router-mode", settings.router_mode, *key),
                *("--http-graceful-shutdown-timeout-secs", str(STOP_S_MAX - 3)),
                # no load balancer is to notice a Ctrl-C
                *("--graceful-shutdown-grace-period-secs", "0"),
            ],
            verbose=options.verbose,
        )
        common = ["-m", "workers", "--engine", options.engine, *dialled]
        common += ["--graceful-shutdown-timeout-secs", str(STOP_S_MAX - 2), *model]
        self._workers = {
            each.worker_id: Child(each.name, [*common, *each.arguments], verbose=options.verbose)
            for each in planned
        }
        self._seats = {each.worker_id: each.seat for each in planned}
        self._starting = Turns()
        self._served: set[str] = set()
        """Holds the ids of workers that the frontend called ready since their last start."""
        self._stop = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted)
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = [tasks.create_task(self._watch_frontend())]
                watching += [
                    tasks.create_task(self._watch_worker(name, worker))
                    for name, worker in self._workers.items()
                ]
                watching.append(tasks.create_task(self._watch_health()))
                await self._stop.wait()
                for task in watching:
                    task.cancel()
        finally:
            children = [self._frontend, *self._workers.values()]
            await asyncio.gather(*(child.stop(STOP_S_MAX) for child in children))
        return self._exit_code

    def _interrupted(self) -> None:
        if self._stop.is_set():
            for child in (self._frontend, *self._workers.values()):
                child.kill()
            return
        say("stopping (Ctrl-C again to stop at once)")
        self._stop.set()

    def _end(self, code: int, why: str) -> None:
        if not self._stop.is_set():
            complain(why)
            self._exit_code = code
            self._stop.set()

    async def _watch_frontend(self) -> None:
        await self._frontend.start()
        code = await self._frontend.wait()
        if code == EXIT_CANNOT_START:
            self._end(code, self._frontend.why_it_cannot_start())
        else:
            self._end(
                code if code > 0 else 1,
                f"kvmesh: the frontend ended with exit code {code}\n{self._frontend.last_words()}",
            )

    async def _watch_worker(self, name: str, worker: Child) -> None:
        crashes = 0
        while True:
            self._served.discard(name)
            seat = self._seats[name]
            await self._starting.begin(name, seat.place)
            await worker.start(seat.memory(self._running_at(seat.place)))
            code = await worker.wait()
            self._starting.end(name)
            if code == EXIT_CANNOT_START:
                self._end(code, worker.why_it_cannot_start())
                return
            say(f"{worker.name} ended with exit code {code}\n{worker.last_words()}")
            crashes = 1 if name in self._served else crashes + 1
            if crashes > RESTARTS_MAX:
                self._end(
                    1, f"kvmesh: {worker.name} ended {crashes} times without serving; giving up"
                )
                return
            say(f"starting {worker.name} again in {RESTART_PAUSE_S:g} s")
            await asyncio.sleep(RESTART_PAUSE_S)

    def _running_at(self, place: int | None) -> int:
        """How many workers hold memory of the same GPUs."""
        return sum(
            worker.runs and self._seats[name].place == place
            for name, worker in self._workers.items()
        )

    async def _watch_health(self) -> None:
        """Notes who serves, and tells how far that is until every worker does for the first
        time.
        """
        progress = Progress()
        started_at = time.monotonic()
        announced = False
        while True:
            ready = [
                worker
                for worker in await asyncio.to_thread(_ready_workers, self._health_url)
                if worker["worker_id"] in self._workers
            ]
            self._served.update(worker["worker_id"] for worker in ready)
            for worker in ready:
                self._starting.end(worker["worker_id"])
            if not announced:
                announced = self._announce(ready, progress, time.monotonic() - started_at)
            await asyncio.sleep(POLL_S)

    def _announce(
        self, ready: Sequence[dict[str, Any]], progress: Progress, elapsed_s: float
    ) -> bool:
        """Says how to talk to the mesh if every worker has served, and returns whether it did;
        shows progress otherwise.
        """
        # whoever can be talked to, once all have served, may be starting again
        served = next((each for each in ready if use_of(each["service"]).try_path), None)
        if served is None or len(self._served) < len(self._workers):
            progress.show(
                f"{len(self._served)} of {len(self._workers)} workers ready, loading for "
                f"{elapsed_s:.0f} s"
            )
            return False
        progress.end()
        say(f"serving {served['model']} ({served['engine']}) after {elapsed_s:.0f} s")
        talk = how_to_talk(self._url, served["model"], served["service"])
        print(talk, self._how_to_join, "", sep="\n", flush=True)
        return True


def _ready_workers(health_url: str) -> list[dict[str, Any]]:
    """Returns the ready workers as the frontend lists them, none while it is not up."""
    try:
        health = get_json(health_url, timeout_s=2, also_errors=True)
        return [worker for worker in health["workers"] if worker["ready"]]
    except (*UNREACHABLE, LookupError, TypeError):
        return []
