from importlib import import_module

import pytest

from bench.guard import __main__ as guard
from bench.guard import counted
from bench.guard.bounds import SLACK, Verdict, read_bounds, verdicts, write_bounds
from bench.guard.loads import LOADS
from bench.guard.planted import PLACES, Plant, plant
from bench.guard.slices import SLICES, TRIES_MAX, TooSlow, alone, middle, tried
from bench.kit.load import LoadFailed


def verdict(instructions: int, bare_instructions: int = 100_000) -> Verdict:
    return Verdict("chat", "frontend", 10.0, instructions, bare_instructions)


def test_a_fifth_more_is_a_rise_and_a_twentieth_is_not():
    assert verdict(1_200_000).risen
    assert not verdict(1_050_000).risen


def test_what_costs_the_bare_app_more_too_is_no_rise():
    assert not verdict(1_200_000, bare_instructions=120_000).risen


def test_a_fifth_less_is_told_and_is_no_rise():
    assert verdict(800_000).fallen
    assert not verdict(800_000).risen
    assert not verdict(950_000).fallen


def test_a_failure_names_what_rose_above_what():
    told = verdict(1_200_000).failure()
    for part in (
        "chat",
        "frontend",
        "12.000",
        "20 %",
        "10.000",
        "1,200,000",
        f"{SLACK * 100:.0f} %",
    ):
        assert part in told


def test_every_process_of_kvmesh_is_held_to_its_part_of_what_the_app_costs():
    then = {"chat": {"frontend": 800, "worker": 200, "app": 100}}
    now = {"chat": {"frontend": 900, "worker": 150, "app": 50}}
    assert [(each.process, each.committed, each.ratio) for each in verdicts(then, now)] == [
        ("frontend", 8.0, 18.0),
        ("worker", 2.0, 3.0),
    ]


def test_the_median_of_the_slices_counts():
    assert middle({"frontend": [30, 10, 11], "app": [5, 6, 90]}) == {"frontend": 11, "app": 6}
    assert SLICES % 2


def test_tokens_that_came_together_were_not_measured():
    alone(tokens=100, events=95)
    with pytest.raises(TooSlow, match="100 tokens came in 80 events"):
        alone(tokens=100, events=80)


@pytest.mark.parametrize("error", [LoadFailed("statuses"), TooSlow("together")])
def test_a_spoilt_slice_is_taken_again_once_all_are_ready(error):
    done: list[str] = []

    def slice_() -> dict[str, int]:
        done.append("slice")
        if len(done) < 4:
            raise error
        return {"frontend": 7}

    assert tried(slice_, lambda: done.append("ready")) == {"frontend": 7}
    assert done == ["slice", "ready", "slice", "ready", "slice"]


def test_what_is_always_spoilt_fails():
    tries: list[int] = []

    def slice_() -> dict[str, int]:
        tries.append(1)
        raise LoadFailed("statuses")

    with pytest.raises(LoadFailed):
        tried(slice_, lambda: None)
    assert len(tries) == TRIES_MAX


def test_a_dump_tells_its_total():
    dump = "# callgrind format\nsummary: 7\n\nob=(1) libc\nfn=(2) read\n26 2\n\ntotals: 71671\n"
    assert counted.total(dump) == 71_671
    with pytest.raises(ValueError, match="values to unpack"):
        counted.total("summary: 7\n")


def test_without_valgrind_a_line_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.argv", ["bench.guard"])
    assert guard.main() == 2
    assert capsys.readouterr().out == (
        "the guard counts instructions with valgrind: valgrind, vgdb not found\n"
    )


def test_what_is_committed_to_is_what_is_read(tmp_path):
    machine, costs = {"cpu": "x"}, {"chat": {"frontend": 12_345, "app": 678}}
    write_bounds(machine, costs, tmp_path / "bounds.json")
    assert read_bounds(tmp_path / "bounds.json") == (machine, costs)


def test_every_load_has_a_bound_for_both_processes():
    _, committed = read_bounds()
    assert {load.name: {"frontend", "worker", "app"} for load in LOADS} == {
        load: set(by_process) for load, by_process in committed.items()
    }


def test_a_plant_says_where_and_how_much():
    assert Plant.read("frontend:chat:100") == Plant("frontend", "chat", 100)
    with pytest.raises(ValueError, match="frontend:prompt:1"):
        Plant.read("frontend:prompt:1")


@pytest.mark.parametrize(("program", "place"), PLACES)
def test_there_is_something_to_slow_down(monkeypatch, program, place):
    module, owner, name = PLACES[program, place]
    owned = getattr(import_module(module), owner)
    before = getattr(owned, name)
    monkeypatch.setattr(owned, name, before)  # puts it back afterwards
    plant(program, place, 1)
    assert getattr(owned, name).__wrapped__ is before
