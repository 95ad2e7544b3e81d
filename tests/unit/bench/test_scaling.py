"""Cores of a host are given out so that frontends have theirs to themselves, if there are more."""

import os

from bench.frontend.scaling.cores import cores_here, on, paired, placing
from bench.frontend.scaling.fleets import Case, cases


def test_each_frontend_has_a_core_of_whose_threads_one_is_used() -> None:
    placed = placing([[0, 8], [1, 9], [2, 10], [3, 11], [4, 12]], 2)
    assert placed.apart
    assert placed.frontends == [0, 1]
    assert not {8, 9} & (placed.workers | placed.generators)
    assert placed.workers | placed.generators == {2, 10, 3, 11, 4, 12}
    assert not placed.workers & placed.generators


def test_workers_and_generators_share_what_is_left_of_a_small_host() -> None:
    placed = placing([[0], [1]], 1)
    assert (placed.apart, placed.frontends, placed.workers) == (True, [0], {1})
    assert placed.generators == {1}


def test_all_share_all_where_frontends_have_every_core() -> None:
    placed = placing([[0], [1]], 2)
    assert (placed.apart, placed.workers, placed.generators) == (False, {0, 1}, {0, 1})
    assert cases([1, 2], placed) == [Case(1, 2), Case(2, 2)]


def test_neighbours_may_be_threads_of_one_core_on_a_large_host() -> None:
    hidden = [[each] for each in range(16)]
    assert placing(paired(hidden), 4).frontends == [0, 2, 4, 6]
    assert paired(hidden[:8]) == hidden[:8]
    told = [[each, each + 16] for each in range(16)]
    assert paired(told) == told


def test_one_process_has_two_cores_beside_a_core_a_process() -> None:
    placed = placing([[each] for each in range(8)], 4)
    assert list(map(str, cases([1, 2, 4], placed))) == ["1 on 1", "1 on 2", "2 on 2", "4 on 4"]


def test_what_is_started_runs_on_its_cores_alone() -> None:
    before = os.sched_getaffinity(0)
    first = cores_here()[0][0]
    with on({first}):
        assert os.sched_getaffinity(0) == {first}
    assert os.sched_getaffinity(0) == before
