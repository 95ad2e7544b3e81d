"""`kvmesh up`: one frontend and N workers on this host; Ctrl-C ends all of it."""

import argparse
import asyncio
import json
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from frontend.cli.child import EXIT_CANNOT_START, Child

STOP_S_MAX = 10
"""How long children may take to finish what runs after Ctrl-C; then they are killed."""

RESTARTS_MAX = 5
"""A worker that crashed this often without serving in between is given up."""

RESTART_PAUSE_S = 2.0
POLL_S = 0.5
PROGRESS_S = 5.0
"""Between two lines of progress where the terminal cannot overwrite one."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `kvmesh up`; those of frontend and workers keep their own names after `--`."""
    parser.add_argument("--model-path", help="a Hugging Face model directory or hub id; without it the demo model is served")
    parser.add_argument("--workers", type=_positive, default=1, help="worker processes, each with an engine of its own (default 1)")
    parser.add_argument("--engine", choices=("sglang", "sim"), default="sglang", help="sim needs neither GPU nor model")
    parser.add_argument("--http-host", default="127.0.0.1")
    parser.add_argument("--http-port", type=int, default=8000)
    parser.add_argument("--mesh-bind", default="tcp://127.0.0.1:5550", help="address that further workers may connect to")
    parser.add_argument("--router-mode", help="see python -m frontend --help")
    parser.add_argument("--verbose", action="store_true", help="show everything that frontend and workers log")


def run(options: argparse.Namespace, engine_argv: Sequence[str]) -> int:
    """Run until Ctrl-C; returns the exit code: 0 after Ctrl-C, that of the part that could not start otherwise."""
    return asyncio.run(_Host(options, engine_argv).run())


class _Host:
    """The processes of one host and what the person at the terminal is told of them."""

    def __init__(self, options: argparse.Namespace, engine_argv: Sequence[str]) -> None:
        self._url = f"http://{options.http_host}:{options.http_port}"
        self._workers_wanted: int = options.workers
        router = ["--router-mode", options.router_mode] if options.router_mode else []
        self._frontend = Child(
            "frontend",
            [
                *("-m", "frontend", "--http-host", options.http_host, "--http-port", str(options.http_port)),
                *("--mesh-bind", options.mesh_bind, "--http-graceful-shutdown-timeout-secs", str(STOP_S_MAX - 2), *router),
            ],
            verbose=options.verbose,
        )
        model = ["--model-path", options.model_path] if options.model_path else []
        self._workers = [
            Child(
                f"worker-{number}",
                [
                    *("-m", "workers", "--engine", options.engine, "--frontend", options.mesh_bind),
                    *("--graceful-shutdown-timeout-secs", str(STOP_S_MAX - 2), *model, *engine_argv),
                ],
                verbose=options.verbose,
            )
            for number in range(options.workers)
        ]
        self._stop = asyncio.Event()
        self._exit_code = 0

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._interrupted)
        try:
            async with asyncio.TaskGroup() as tasks:
                watching = [tasks.create_task(self._watch_frontend())]
                watching += [tasks.create_task(self._watch_worker(worker)) for worker in self._workers]
                watching.append(tasks.create_task(self._announce()))
                await self._stop.wait()
                for task in watching:
                    task.cancel()
        finally:
            children = [self._frontend, *self._workers]
            await asyncio.gather(*(child.stop(STOP_S_MAX) for child in children))
        return self._exit_code

    def _interrupted(self) -> None:
        if self._stop.is_set():
            for child in (self._frontend, *self._workers):
                child.kill()
            return
        _say("stopping (Ctrl-C again to stop at once)")
        self._stop.set()

    def _end(self, code: int, why: str) -> None:
        if not self._stop.is_set():
            _say(why)
            self._exit_code = code
            self._stop.set()

    async def _watch_frontend(self) -> None:
        await self._frontend.start()
        code = await self._frontend.wait()
        self._end(code or 1, f"the frontend ended with exit code {code}\n{self._frontend.last_words()}")

    async def _watch_worker(self, worker: Child) -> None:
        for restart in range(RESTARTS_MAX + 1):
            await worker.start()
            code = await worker.wait()
            if code == EXIT_CANNOT_START:
                self._end(code, worker.last_words(lines=1))
                return
            _say(f"{worker.name} ended with exit code {code}\n{worker.last_words()}")
            if restart < RESTARTS_MAX:
                _say(f"starting {worker.name} again in {RESTART_PAUSE_S:g} s")
                await asyncio.sleep(RESTART_PAUSE_S)
        self._end(1, f"{worker.name} ended {RESTARTS_MAX + 1} times; giving up")

    async def _announce(self) -> None:
        """Show progress until every worker serves, then say how to talk to them."""
        progress = _Progress()
        started_at = time.monotonic()
        while True:
            health = await asyncio.to_thread(_health, self._url)
            ready = [worker for worker in health.get("workers", []) if worker["ready"]]
            if len(ready) >= self._workers_wanted:
                break
            progress.show(f"{len(ready)} of {self._workers_wanted} workers ready, loading for {time.monotonic() - started_at:.0f} s")
            await asyncio.sleep(POLL_S)
        progress.end()
        model = ready[0]["model"]
        body = json.dumps({"model": model, "messages": [{"role": "user", "content": "What is kvmesh?"}]})
        _say(f"serving {model} ({ready[0]['engine']}) after {time.monotonic() - started_at:.0f} s")
        print(f"\n  address   {self._url}/v1\n  model     {model}\n  try       kvmesh chat", end="")
        print(f"\n            curl {self._url}/v1/chat/completions -H 'content-type: application/json' -d '{body}'\n", flush=True)


class _Progress:
    """One line that is overwritten on a terminal, a line every few seconds elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stdout.isatty()
        self._shown_at = time.monotonic()

    def show(self, text: str) -> None:
        if self._terminal:
            print(f"\r\033[Kkvmesh: {text}", end="", flush=True)
        elif time.monotonic() - self._shown_at >= PROGRESS_S:
            self._shown_at = time.monotonic()
            _say(text)

    def end(self) -> None:
        if self._terminal:
            print("\r\033[K", end="")


def _health(url: str) -> dict[str, Any]:
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:  # noqa: S310 - our own address
            return json.load(answer)
    except (OSError, ValueError, urllib.error.URLError):
        return {}


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _say(text: str) -> None:
    print(f"kvmesh: {text}", flush=True)
