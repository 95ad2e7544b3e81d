"""What all tests share."""

import gc
import os
import signal
import sys
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings
from xdist.remote import Producer

from tests.kit.blocking import Blocked
from tests.kit.kept import end_kept
from tests.kit.order import GroupScheduling, at_random, group_of, in_order

# An example that takes long on a machine that is busy with other things is no finding.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


def pytest_configure() -> None:
    """Ctrl-C means something to what tests start, also where a shell has put us in the background
    and had us ignore it: a process ignores from its start what its parent ignores.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected will be no garbage: it is not looked through, neither as it
    comes nor while tests run.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes long begins first, so that several processes end together; all in an order of
    chance where KVMESH_TEST_ORDER is its seed.
    """
    if seed := os.environ.get("KVMESH_TEST_ORDER"):
        at_random(items, seed)
    else:
        in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling | None:
    """Files that share an engine are one process's, with --dist loadfile."""
    return GroupScheduling(config, log) if config.getvalue("dist") == "loadfile" else None


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """What files of a group share ends with the group, or with all where groups are scattered."""
    scattered = "KVMESH_TEST_ORDER" in os.environ
    if nextitem is None or (not scattered and group_of(nextitem.nodeid) != group_of(item.nodeid)):
        end_kept()


@pytest.fixture(autouse=True, scope="module")
def _torch_stays_out(request: pytest.FixtureRequest) -> Iterator[None]:
    """A module that brings torch into pytest's process fails: with it that process ends with a
    segmentation fault at times.
    """
    yield
    assert "torch" not in sys.modules, (
        f"{request.node.name}, or what ran before it, imported torch: run it as a program of "
        "its own"
    )


@pytest.fixture(scope="session")
def blocked() -> Iterator[Blocked]:
    """What our packages do on a loop of pytest's process and should not."""
    blocked = Blocked()
    blocked.watch()
    yield blocked
    blocked.leave()


@pytest.fixture(autouse=True)
def _no_loop_stands_still(blocked: Blocked) -> Iterator[None]:
    """A test in which our packages block a loop fails, also where the error ended a request."""
    blocked.take()  # what a fixture of a session left is told where it began
    yield
    assert not (found := blocked.take()), "\n".join(["a loop stood still:", *found])
