"""Two workers with real SGLang behind a frontend, whatever happens to them."""

from collections.abc import Callable
from contextlib import suppress
from itertools import count

import psutil

from starter.ports import free_port
from starter.process import Process
from starter.waiting import wait_until
from tests.fault.streams import on_each_worker
from tests.fault.system_pages import SystemPages
from tests.kit.fleet import Fleet

START_S_MAX = 300.0
WORKER = (
    *("--max-running-requests", "8", "--max-total-tokens", "16384"),
    *("--enable-metrics", "--canary-wait-time", "1"),
)


class Pair:
    """A frontend and two workers, each by its name, which no other has had."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.workers: dict[str, Process] = {}
        self.pages: dict[str, SystemPages] = {}
        self._numbers = count()

    def restore(self, workers: int = 2) -> None:
        """Wake who was stopped, start anew who has ended, and wait until so many or more serve and
        run nothing.
        """
        self.wake()
        self.wait_until(lambda: self._whole(workers), wait_s_max=START_S_MAX)

    def wake(self) -> None:
        """Let all processes go on that a test stopped."""
        for worker in self.workers.values():
            with suppress(psutil.NoSuchProcess):
                process = psutil.Process(worker.popen.pid)
                for each in (process, *process.children(recursive=True)):
                    each.resume()

    def ready(self) -> int:
        """Workers that take requests."""
        return len(self._ready())

    def _ready(self) -> set[str]:
        with suppress(OSError):
            return {
                worker["worker_id"]
                for worker in self.fleet.get("/health")[1]["workers"]
                if worker["ready"]
            }
        return set()

    def _whole(self, count: int) -> bool:
        self.workers = {
            name: worker for name, worker in self.workers.items() if worker.popen.poll() is None
        }
        while len(self.workers) < count:
            name = f"w{next(self._numbers)}"
            self.pages[name] = SystemPages(free_port())
            self.workers[name] = self.fleet.forked_worker(
                *("--worker-id", name, *WORKER, "--system-port", str(self.pages[name].port))
            )
        return self._ready() == self.workers.keys() and not self.is_busy()

    def wait_until(self, condition: Callable[[], bool], *, wait_s_max: float = 60.0) -> None:
        """As Fleet's, for fleets of which something has ended."""
        wait_until(condition, "the pair is as the test wants it", wait_s_max=wait_s_max)

    def is_busy(self) -> bool:
        """Whether a worker's heartbeat tells that it runs something."""
        return any(on_each_worker(self.fleet).values())

    def busy(self) -> str:
        """The worker that runs most."""
        runs = on_each_worker(self.fleet)
        name = max(runs, key=runs.__getitem__)
        assert runs[name] > 0
        return name

    def scheduler(self, name: str) -> psutil.Process:
        """Of its engine."""
        children = psutil.Process(self.workers[name].popen.pid).children(recursive=True)
        (scheduler,) = [child for child in children if "scheduler" in child.name()]
        return scheduler
