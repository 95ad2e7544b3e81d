from importlib import import_module

import pytest

from bench.guard.bounds import BUSY_SLACK, SLACK, Verdict, read_bounds, spread, write_bounds
from bench.guard.loads import LOADS
from bench.guard.planted import PLACES, Plant, plant
from bench.guard.rounds import Round, Slice


def verdict(*ratios: float, committed: float = 10.0, others_cores: float = 0.0) -> Verdict:
    return Verdict("chat", "frontend", committed, ratios, 340.0, 34.0, others_cores)


def test_a_fifth_more_is_a_rise_and_a_tenth_is_not():
    assert verdict(11.8, 12.0, 12.1, 12.0, 12.2).risen
    assert not verdict(10.8, 11.0, 11.1, 11.0, 11.2).risen


def test_beside_other_work_only_what_doubles_is_a_rise():
    assert not verdict(*[9.9 * (1 + BUSY_SLACK)] * 5, others_cores=1.0).risen
    assert verdict(*[10.1 * (1 + BUSY_SLACK)] * 5, others_cores=1.0).risen


def test_one_wild_round_makes_no_rise():
    assert not verdict(10.0, 10.1, 9.9, 10.0, 30.0).risen
    assert not verdict(10.0, 10.1, 9.9, 10.0, 30.0).noisy


def test_rounds_that_differ_by_more_than_the_slack_are_noise():
    assert verdict(8.0, 9.0, 10.0, 11.0, 12.0).noisy
    assert spread([9.0, 9.6, 10.0, 10.4, 12.0]) == pytest.approx(0.08)


def test_a_failure_names_what_rose_above_what():
    told = verdict(12.0, 12.0, 12.0, 12.0, 12.0).failure()
    for part in ("chat", "frontend", "12.000", "20 %", "10.000", f"{10 * (1 + SLACK):.3f}"):
        assert part in told


def test_a_round_is_the_medians_of_its_slices_in_costs_of_the_bare_app():
    slices = [
        Slice(bare_us, {"frontend": frontend_us}, others_cores)
        for bare_us, frontend_us, others_cores in [(20, 90, 0), (10, 400, 2), (30, 400, 0.1)]
    ]
    found = Round.of(slices)
    assert found.ratios == {"frontend": 20.0}
    assert found.others_cores == 0.1


def test_what_is_committed_to_is_what_is_read(tmp_path):
    file = tmp_path / "bounds.json"
    write_bounds({"cpu": "x"}, {"chat": {"frontend": 12.34567}}, file)
    assert read_bounds(file) == {"machine": {"cpu": "x"}, "ratios": {"chat": {"frontend": 12.346}}}


def test_every_load_has_a_bound_for_both_processes():
    committed = read_bounds()["ratios"]
    assert {load.name: {"frontend", "worker"} for load in LOADS} == {
        load: set(by_process) for load, by_process in committed.items()
    }


def test_a_plant_says_where_and_how_much():
    assert Plant.read("frontend:chat:100") == Plant("frontend", "chat", 100.0)
    with pytest.raises(ValueError, match="frontend:prompt:1"):
        Plant.read("frontend:prompt:1")


@pytest.mark.parametrize(("program", "place"), PLACES)
def test_there_is_something_to_slow_down(monkeypatch, program, place):
    module, owner, name = PLACES[program, place]
    owned = getattr(import_module(module), owner)
    before = getattr(owned, name)
    monkeypatch.setattr(owned, name, before)  # puts it back afterwards
    plant(program, place, 1.0)
    assert getattr(owned, name).__wrapped__ is before
