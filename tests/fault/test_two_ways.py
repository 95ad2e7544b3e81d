"""One worker, one frontend, and several addresses between them: the frontend has it once, and an
address that ends costs no answer.
"""

import pytest

from bench.faults.proxy import TcpProxy
from tests.fault.raw_http import metric
from tests.fault.streams import SIM, lost_workers, tell_all
from tests.kit.fleet import Fleet


@pytest.mark.parametrize("end", ["closed", "silent"])
async def test_the_worker_serves_over_one_address_and_goes_on_over_the_other(
    fleet: Fleet, end: str
) -> None:
    fleet.frontend()
    with TcpProxy(fleet.mesh) as one, TcpProxy(fleet.mesh) as other:
        addresses = ("--frontend", one.address, "--frontend", other.address)
        worker = fleet.start("workers", "--engine", "sim", *addresses, *SIM, "--log-level", "debug")
        fleet.wait_for_workers(1)
        fleet.wait_until(
            lambda: worker.output().count("over another connection") >= 2,
            "the second address is tried, and tried again",
        )
        undisturbed = await tell_all(fleet)
        assert metric(fleet, "kvmesh_frontend_workers_lost_total") == 0
        serving = one if f"({one.address}) accepted us" in worker.output() else other

        def fault() -> None:
            (serving.close if end == "closed" else serving.stop_forwarding)()
            fleet.wait_until(
                lambda: lost_workers(fleet, "out_of_step" if end == "closed" else "silent") == 1,
                "the way is missed",
            )

        assert await tell_all(fleet, fault) == undisturbed
        assert await tell_all(fleet) == undisturbed
