"""What befalls workers, frontends and what lies between them."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final, get_args

from tests.simulation.frontend import SimulatedFrontend
from tests.simulation.loop import Process
from tests.simulation.meetings import address_of
from tests.simulation.plan import Fault, LegFault, MediaFault
from tests.simulation.worker import SimulatedWorker

if TYPE_CHECKING:
    from tests.simulation.world import World

FORGET_S_MAX: Final = 5.0
"""A frontend that is gone leaves nothing running after so long."""

_ENDINGS: Final = frozenset(("kill", "vanish", "die", "drain", "hurry", "frontend-drain"))
_BETWEEN: Final = frozenset((*get_args(LegFault), *get_args(MediaFault))) - {"sender-stopped"}
"""Befalls what lies between workers, or what passes there."""


class Misfortunes:
    """Brings a plan's faults about.

    Attributes:
        blows: whatever may have looked like a worker's death to somebody, but for its end, which
        the world counts.
    """

    def __init__(self, world: "World") -> None:
        self.blows = 0
        self._world = world
        self._bring_about: dict[
            str, Callable[[Fault, SimulatedWorker, SimulatedFrontend], None]
        ] = {
            "kill": lambda fault, worker, _: worker.kill(),
            "vanish": lambda fault, worker, _: worker.kill(silently=True),
            "stop": lambda fault, worker, _: self._stop(worker.process, fault.seconds),
            "drain": lambda fault, worker, _: worker.drain(),
            "hurry": self._hurry,
            "hang": lambda fault, worker, _: worker.fault(
                f"hang-s={fault.seconds}", "hang-after-tokens=0"
            ),
            "die": lambda fault, worker, _: worker.fault("engine-death-after-tokens=0"),
            "slow": self._slow,
            "break": lambda fault, worker, frontend: world.network.break_off(
                worker.worker_id, frontend.address
            ),
            "part": lambda fault, worker, frontend: world.network.part(
                worker.worker_id, frontend.address, fault.seconds
            ),
            "fill": lambda fault, worker, frontend: world.network.fill(
                worker.worker_id, frontend.address, fault.seconds
            ),
            "cache-lost": lambda fault, *_: self._befall_next(
                fault, lambda: "transfer-error-every"
            ),
            "cache-stalled": lambda fault, *_: self._befall_next(fault, lambda: "transfer-stall"),
            "sender-killed": lambda fault, *_: self._befall_next(
                fault, world.workers[fault.prefill].crash
            ),
            "sender-stopped": lambda fault, *_: self._befall_next(
                fault, lambda: self._stop(world.workers[fault.prefill].process, fault.seconds)
            ),
            "taker-killed": lambda fault, worker, _: self._befall_next(fault, worker.kill),
            "caches-lost": lambda fault, *_: self._befall_many(fault, "transfer-error-every=2"),
            "caches-stalled": lambda fault, *_: self._befall_many(fault, "transfer-stall"),
            "legs-part": lambda fault, worker, _: world.engines.part(
                worker.worker_id, self._address(fault), fault.seconds
            ),
            "legs-break": lambda fault, worker, _: world.engines.break_off(
                worker.worker_id, self._address(fault)
            ),
            "media-part": lambda fault, worker, _: world.media.part(
                worker.worker_id, self._door(fault), fault.seconds
            ),
            "media-break": lambda fault, worker, _: world.media.break_off(
                worker.worker_id, self._door(fault)
            ),
            "media-fill": lambda fault, worker, _: world.media.fill(
                worker.worker_id, self._door(fault), fault.seconds
            ),
            "frontend-stop": lambda fault, _, frontend: self._stop(frontend.process, fault.seconds),
            "frontend-drain": lambda fault, _, frontend: self._drain(frontend),
            "frontend-kill": lambda fault, _, frontend: self._end(frontend, silently=False),
            "frontend-vanish": lambda fault, _, frontend: self._end(frontend, silently=True),
        }

    def befall(self, fault: Fault) -> None:
        """Its time has come."""
        world = self._world
        worker, frontend = world.workers[fault.worker], world.frontends[fault.frontend]
        world.note(
            f"{fault.kind} befalls {worker.worker_id} and {frontend.name} for {fault.seconds:.3f} s"
        )
        self.blows += fault.kind not in _ENDINGS | _BETWEEN
        self._bring_about[fault.kind](fault, worker, frontend)

    def heal(self) -> None:
        """From here on nothing befalls anybody, and whoever does not work is started anew."""
        self._world.network.heal()
        self._world.engines.heal()
        self._world.media.heal()
        for frontend in self._world.frontends:
            frontend.process.wake()
        for worker in self._world.workers:
            if worker.blocked:
                worker.kill()
            worker.process.wake()
            if worker.up:
                worker.faults.next_caches.clear()
                worker.fault("clear")

    def _hurry(self, fault: Fault, worker: SimulatedWorker, _: SimulatedFrontend) -> None:
        worker.drain()
        self._world.after(fault.seconds / 10, worker.drain)

    def _address(self, fault: Fault) -> str:
        return address_of(self._world.workers[fault.prefill].server)

    def _door(self, fault: Fault) -> str:
        return self._world.workers[fault.encoder].door

    def _befall_next(self, fault: Fault, what: Callable[[], str | None]) -> None:
        self._world.workers[fault.prefill].faults.next_caches.append(what)

    def _befall_many(self, fault: Fault, what: str) -> None:
        worker = self._world.workers[fault.prefill]
        worker.fault(what)
        self._world.after(fault.seconds, partial(worker.fault, "clear"))

    def _slow(self, fault: Fault, worker: SimulatedWorker, _: SimulatedFrontend) -> None:
        worker.fault("slow=10")
        self._world.after(fault.seconds, partial(worker.fault, "slow=1"))

    def _stop(self, process: Process, seconds: float) -> None:
        if not process.dead and not process.stopped:
            process.stop()
            self._world.after(seconds, process.wake)

    def _drain(self, frontend: SimulatedFrontend) -> None:
        frontend.drain()

    def _is_last(self, frontend: SimulatedFrontend) -> bool:
        """The last frontend is not killed: a world without any has nothing to tell."""
        return frontend.process.dead or all(
            other.process.dead for other in self._world.frontends if other is not frontend
        )

    def _end(self, frontend: SimulatedFrontend, *, silently: bool) -> None:
        """Its requests are soon forgotten by the workers."""
        if self._is_last(frontend):
            return
        frontend.kill(silently=silently)
        stood_still_s = {
            worker: worker.process.frozen_s
            for worker in self._world.workers
            if not worker.process.stopped
        }
        forget_s = FORGET_S_MAX + self._world.network.weather.late_s  # its last message may be late
        self._world.after(forget_s, partial(self._check_forgotten, frontend, stood_still_s))

    def _check_forgotten(
        self, frontend: SimulatedFrontend, stood_still_s: dict[SimulatedWorker, float]
    ) -> None:
        for worker, frozen_s in stood_still_s.items():
            if (
                worker.up
                and worker.links
                and not worker.process.stopped
                and worker.process.frozen_s == frozen_s
            ):
                left = [
                    request_id
                    for request_id in worker.intake._owners
                    if request_id.startswith(frontend.prefix)
                ]
                if left:
                    self._world.defect(
                        f"{worker.worker_id} runs {len(left)} requests of "
                        f"{frontend.name}, gone for {FORGET_S_MAX} s"
                    )
