"""How a worker stands after what its operator did, and what may follow."""

from typing import Any

import pytest

from workers.operating.routes import ROUTE_OF, ROUTES
from workers.operating.standing import Standing

ALL = frozenset(("kv_cache", "weights", "cuda_graph"))


def conflict(standing: Standing, route: str, *tags: str, mode: str | None = None) -> str:
    return standing.conflict(ROUTE_OF[route], tags=frozenset(tags), mode=mode)


def test_at_first_nothing_is_told_and_only_what_ends_something_is_a_conflict() -> None:
    standing = Standing()
    assert not standing.withdrawn
    assert standing.told("").state == ""
    refused = {
        route.name
        for route in ROUTES
        if conflict(standing, route.name, *(ALL if route.name.startswith("release") else ()))
    }
    assert refused == {"resume_memory_occupation", "end_weight_update"}


@pytest.mark.parametrize(
    ("fields", "state", "soon"),
    [
        ({"paused": "in_place"}, "paused", True),
        ({"released": frozenset(("kv_cache",))}, "released", False),
        ({"in_session": True}, "updating", True),
        ({"lacks_weights": True}, "released", False),
        ({"under_way": ROUTE_OF["flush_cache"], "paused": "retract"}, "flushing", True),
        ({"under_way": ROUTE_OF["continue_generation"]}, "", False),
        ({"under_way": ROUTE_OF["start_profile"]}, "", False),
    ],
)
def test_what_is_told(fields: dict[str, Any], state: str, soon: bool) -> None:
    standing = Standing(**fields, flushes=3)
    told = standing.told("v2")
    assert (told.state, told.soon, told.flushes, told.weight_version) == (state, soon, 3, "v2")
    assert bool(told.reason) == bool(state) == standing.withdrawn


def test_weights_are_not_loaded_where_their_memory_is_released() -> None:
    standing = Standing(released=frozenset(("weights",)))
    for route in ROUTES:
        said = conflict(standing, route.name, "weights" if "resume" in route.name else "kv_cache")
        assert bool(said) == (
            route.loads or route.name in ("continue_generation", "end_weight_update")
        )


def test_a_pause_that_holds_requests_is_followed_by_another_one_that_does_alone() -> None:
    standing = Standing(paused="in_place")
    assert conflict(standing, "pause_generation", mode=None)
    assert conflict(standing, "pause_generation", mode="abort")
    assert not conflict(standing, "pause_generation", mode="retract")


def test_states_that_follow_from_routes_are_those_that_people_are_shown() -> None:
    assert {route.state for route in ROUTES} == {"", "paused", "flushing", "updating", "released"}
    assert all(route.when_busy is None or route.state for route in ROUTES)
