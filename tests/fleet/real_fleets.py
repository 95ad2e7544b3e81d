"""Fleets with real SGLang: one for all files that use it alike, since it takes half a minute to
start.
"""

import pytest

from tests.kit.fleet import Fleet
from tests.kit.forks import ONE_THREAD
from tests.kit.kept import keep

START_S_MAX = 400.0


class RealFleets:
    """The fleet of one configuration at a time, since an engine takes 2 GB: files that share one
    follow each other (tests/kit/order.py).
    """

    def __init__(self, directories: pytest.TempPathFactory) -> None:
        self._directories = directories
        self._configuration: tuple[tuple[str, ...], ...] = ()
        self._fleet: Fleet | None = None

    def of(self, *workers: tuple[str, ...]) -> Fleet:
        """A frontend and a worker for each of these arguments, ready and whole; the fleet that is
        there, if it is that one.
        """
        fleet = self._fleet
        if (
            fleet is not None
            and self._configuration == workers
            and all(process.popen.poll() is None for process in fleet.processes)
        ):
            return fleet
        self.stop()
        fleet = Fleet(self._directories.mktemp("real"))
        try:
            fleet.frontend()
            for arguments in workers:
                if arguments:
                    fleet.forked_worker(*arguments)
                else:  # as `make up` starts it
                    fleet.worker(engine="sglang", env=ONE_THREAD)
            fleet.wait_for_workers(len(workers), wait_s_max=START_S_MAX)
        except BaseException:  # an interrupted test leaves no engine either
            fleet.stop()
            raise
        self._configuration, self._fleet = workers, fleet
        keep(self.stop)
        return fleet

    def stop(self) -> None:
        """End the fleet; each of its workers ends as it should, and leaves no process."""
        if self._fleet is None:
            return
        fleet, self._fleet = self._fleet, None
        try:
            for worker in fleet.processes[1:]:
                assert worker.stop(wait_s_max=60) == 0, worker.output()[-3000:]
                assert worker.children_left() == []
        finally:
            fleet.stop()
