"""Which workers `kvmesh up` starts, and on which GPUs."""

import asyncio
from pathlib import Path

import pytest

from frontend.cli.engine_arguments import EngineArguments
from frontend.cli.gpus import left_visible, visible_gpus
from frontend.cli.placing import SHARE, Seat, gpus_of_one, seats
from frontend.cli.plan import Wanted, plan
from frontend.cli.turns import Turns
from protocol.process.start_error import StartError

DP_ATTENTION = ("--tp", "4", "--dp", "4", "--enable-dp-attention")


def bases(workers: int, gpus: int | None, *argv: str, share: bool = False) -> list[str | None]:
    """The --base-gpu-id of each worker."""
    placed = seats(workers, EngineArguments(argv), gpus=gpus, share=share)
    return [seat.arguments[1] if seat.arguments else None for seat in placed]


@pytest.mark.parametrize(
    ("argv", "gpus"),
    [
        ((), 1),
        (("--tp", "2"), 2),
        (("--tp-size=4", "--pp-size", "2"), 8),
        (("--tensor-parallel-size", "2", "--data-parallel-size", "3"), 6),
        (DP_ATTENTION, 4),
        (("--tp", "2", "--gpu-id-step", "2"), 4),
        (("--tp", "16", "--nnodes", "2"), 8),
        (("--tp", "2", "--tp", "4"), 4),
        (("--tp", "many"), 1),
    ],
)
def test_an_engine_takes_as_many_gpus_as_sglang_gives_it(argv: tuple[str, ...], gpus: int) -> None:
    assert gpus_of_one(EngineArguments(argv)) == gpus


@pytest.mark.parametrize(
    ("workers", "gpus", "argv", "expected"),
    [
        (1, 1, (), [None]),
        (2, 2, (), ["0", "1"]),
        (2, 4, ("--tp", "2"), ["0", "2"]),
        (2, 8, DP_ATTENTION, ["0", "4"]),
        (2, 7, ("--tp", "3"), ["0", "3"]),
        (1, 3, ("--tp", "2", "--gpu-id-step", "2"), [None]),
        (3, None, (), [None] * 3),
        (3, 0, (), [None] * 3),
        (3, 2, ("--device", "cpu"), [None] * 3),
        (3, 2, ("--base-gpu-id", "1"), [None] * 3),
    ],
)
def test_workers_stand_side_by_side(
    workers: int, gpus: int | None, argv: tuple[str, ...], expected: list[str | None]
) -> None:
    assert bases(workers, gpus, *argv) == expected


def test_workers_that_share_go_around_again() -> None:
    assert bases(5, 2, share=True) == ["0", "1", "0", "1", "0"]
    placed = seats(5, EngineArguments(()), gpus=2, share=True)
    assert [seat.sharers for seat in placed] == [3, 2, 3, 2, 3]
    assert [seat.place for seat in placed] == [0, 1, 0, 1, 0]
    own = seats(3, EngineArguments(("--mem-fraction-static", "0.3")), gpus=1, share=True)
    assert [(seat.place, seat.memory(0)) for seat in own] == [(0, [])] * 3


def test_each_sharer_gets_as_much_memory_whenever_it_starts() -> None:
    seat = Seat(place=0, sharers=3)
    free = 1.0
    for running in range(3):
        flag, part = seat.memory(running)
        assert flag == "--mem-fraction-static"
        assert float(part) * free == pytest.approx(SHARE / 3, abs=0.001)
        free -= 1 / 3
    assert Seat(place=0).memory(0) == []


@pytest.mark.parametrize(
    ("workers", "gpus", "argv", "why"),
    [
        (3, 2, (), "3 workers take 3 GPUs, and 2 can be seen here: start 2, or .* --gpu-share"),
        (2, 3, ("--tp", "2"), "2 workers take 4 GPUs, and 3 can be seen here: start 1, or"),
        (1, 1, ("--tp", "2"), "an engine of these arguments takes 2 GPUs, and 1 can be seen"),
    ],
)
def test_too_few_gpus_are_said(workers: int, gpus: int, argv: tuple[str, ...], why: str) -> None:
    with pytest.raises(StartError, match=why):
        seats(workers, EngineArguments(argv), gpus=gpus, share=False)


def test_files_that_engines_read_are_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("tp_size: 2\nenable-dp-attention: true\ndp-size: 2\ndevice: null\n")
    named = EngineArguments(("--config", str(file)))
    assert gpus_of_one(named) == 2
    assert named.told("--device") is None
    assert gpus_of_one(EngineArguments(("--config", str(file), "--tp-size", "4"))) == 4
    file.write_text("decode: {tp: 2}\nwords: x")
    monkeypatch.setenv("DYN_SGL_DISAGG_CONFIG", str(file))
    assert gpus_of_one(EngineArguments(("--disagg-config-key", "decode"))) == 2
    for key in ("nobody", "words"):
        assert gpus_of_one(EngineArguments(("--disagg-config-key", key))) == 1
    assert gpus_of_one(EngineArguments(("--config", "nowhere.yaml"))) == 1


def arguments(wanted: Wanted, *argv: str, gpus: int | None = None) -> list[list[str]]:
    """What each worker is given beside its name."""
    planned = plan(wanted, ("--worker-id", "w", *argv), gpus=gpus)
    return [list(each.arguments[2:]) for each in planned]


def test_without_pools_one_worker_makes_whole_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYN_SYSTEM_PORT", raising=False)
    (one,) = plan(Wanted(), ("--worker-id", "w", "--tp", "2"), gpus=2)
    assert (one.name, one.worker_id) == ("worker-0", "w")
    assert one.arguments == ("--worker-id", "w", "--tp", "2")


def test_pools_stand_beside_whole_workers_if_those_are_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("DYN_SYSTEM_PORT", raising=False)
    planned = plan(Wanted(whole=1, prefill=2, decode=1), ("--worker-id", "w"), gpus=4)
    assert [each.name for each in planned] == ["worker-0", "prefill-0", "prefill-1", "decode-0"]
    assert [each.worker_id for each in planned] == [
        "w-0",
        "w-prefill-0",
        "w-prefill-1",
        "w-decode-0",
    ]
    mode = "--disaggregation-mode"
    assert [each.arguments[2:] for each in planned] == [
        ("--base-gpu-id", "0"),
        (mode, "prefill", "--base-gpu-id", "1"),
        (mode, "prefill", "--base-gpu-id", "2"),
        (mode, "decode", "--base-gpu-id", "3"),
    ]
    simulated = Wanted(prefill=1, decode=1, simulated=True)
    ports = ("--system-port", "9000")
    assert arguments(simulated, *ports, "--tp", "2") == [
        [mode, "prefill", *ports, "--tp", "2"],
        [mode, "decode", "--system-port", "9001", "--tp", "2"],
    ]


@pytest.mark.parametrize(
    ("wanted", "gpus", "argv", "why"),
    [
        (Wanted(prefill=1), 8, (), "go together"),
        (Wanted(whole=1, decode=1), 8, (), "go together"),
        (Wanted(prefill=1, decode=1), 0, (), "need GPUs: .*--engine sim"),
        (Wanted(prefill=1, decode=1), 2, ("--device", "cpu"), "need GPUs: .*--engine sim"),
        (
            Wanted(prefill=1, decode=1, simulated=True),
            None,
            ("--disaggregation-mode=decode",),
            "set --disaggregation-mode: leave it out",
        ),
        (Wanted(prefill=1, decode=1), 1, (), "2 workers take 2 GPUs, and 1 can be seen here"),
    ],
)
def test_pools_that_cannot_be_are_said(
    wanted: Wanted, gpus: int | None, argv: tuple[str, ...], why: str
) -> None:
    with pytest.raises(StartError, match=why):
        plan(wanted, argv, gpus=gpus)


@pytest.mark.parametrize(
    ("there", "named", "left"),
    [
        (4, None, 4),
        (4, "", 0),
        (4, "-1", 0),
        (4, "2,3", 2),
        (4, " 0 , 1 ", 2),
        (2, "0,7,1", 1),
        (2, "GPU-abc,GPU-def", 2),
        (2, "0,nonsense", 1),
        (0, "0", 0),
        (0, "GPU-abc", 0),
    ],
)
def test_gpus_that_are_hidden_do_not_count(there: int, named: str | None, left: int) -> None:
    assert left_visible(there, named) == left


LISTING = """#!/bin/sh
[ "$1" = -L ] || exit 9
echo 'GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1)'
echo '  MIG 1g.10gb Device 0: (UUID: MIG-1)'
echo 'GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-2)'
"""


def test_gpus_are_counted_by_the_drivers_own_tool(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(LISTING)
    tool.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/bin:/usr/bin"}
    assert visible_gpus(environ) == 2
    assert visible_gpus({**environ, "CUDA_VISIBLE_DEVICES": "1"}) == 1
    assert visible_gpus({**environ, "SGLANG_USE_CPU_ENGINE": "1"}) == 0
    tool.write_text("#!/bin/sh\necho 'NVIDIA-SMI has failed' >&2; exit 9\n")
    assert visible_gpus(environ) == 0


def test_without_that_tool_other_accelerators_may_be_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert visible_gpus({"PATH": str(tmp_path)}, dev=tmp_path) == 0
    (tmp_path / "kfd").touch()
    assert visible_gpus({"PATH": str(tmp_path)}, dev=tmp_path) is None


async def test_workers_of_one_place_start_in_turn() -> None:
    turns, begun = Turns(), list[str]()

    async def begin(name: str, place: int | None) -> None:
        await turns.begin(name, place)
        begun.append(name)

    async with asyncio.timeout(10), asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(begin(name, place))
            for name, place in (("a", 0), ("b", 0), ("c", 1), ("d", None), ("e", None))
        ]
        await asyncio.gather(waiting[0], *waiting[2:])
        assert sorted(begun) == ["a", "c", "d", "e"]
        turns.end("a")
        turns.end("a")  # it serves, and then ends
        await waiting[1]
        assert begun[-1] == "b"


def test_zero_in_a_file_is_said(tmp_path: Path) -> None:
    """A false one is not."""
    file = tmp_path / "engine.yaml"
    file.write_text("base-gpu-id: 0\nenable_dp_attention: false\n")
    named = EngineArguments(("--config", str(file)))
    assert named.told("--base-gpu-id") == "0"
    assert named.told("--enable-dp-attention") is None


def kinds(wanted: Wanted, *argv: str, gpus: int | None = None) -> dict[str, tuple[str, ...]]:
    """The arguments of each worker behind its name, but for its id."""
    return {each.name: each.arguments[2:] for each in plan(wanted, argv, gpus=gpus)}


def test_workers_take_what_is_made_of_pictures_where_somebody_makes_it() -> None:
    assert kinds(Wanted(encode=1, process=1), "--context-length", "512") == {
        "worker-0": ("--multimodal-worker", "--context-length", "512"),
        "encode-0": ("--multimodal-encode-worker", "--context-length", "512"),
        "processor-0": ("--multimodal-processor", "--context-length", "512"),
    }
    apart = kinds(Wanted(prefill=1, decode=1, encode=1, simulated=True))
    assert all("--multimodal-worker" in apart[name] for name in ("prefill-0", "decode-0"))


def test_an_encoder_has_one_gpu_and_a_processor_none() -> None:
    started = kinds(Wanted(encode=2, process=1), "--tp", "2", "--tp-size=2", gpus=4)
    assert started["worker-0"][1:] == ("--base-gpu-id", "0", "--tp", "2", "--tp-size=2")
    assert started["encode-0"] == ("--multimodal-encode-worker", "--base-gpu-id", "2")
    assert started["encode-1"] == ("--multimodal-encode-worker", "--base-gpu-id", "3")
    assert started["processor-0"] == ("--multimodal-processor",)
    with pytest.raises(StartError, match="3 workers take 3 GPUs, and 2 can be seen here"):
        kinds(Wanted(encode=2, process=1), gpus=2)
    with pytest.raises(
        StartError, match="3 workers take 5 GPUs, and 4 can be seen here: start fewer"
    ):
        kinds(Wanted(whole=2, encode=1), "--tp", "2", gpus=4)
    assert kinds(Wanted(whole=0, encode=2), "--tp", "4", gpus=2)["encode-1"][-1] == "1"


def test_an_encoder_is_told_of_one_gpu_where_a_file_says_more(tmp_path: Path) -> None:
    file = tmp_path / "engine.yaml"
    file.write_text("tp-size: 2\n")
    started = kinds(Wanted(encode=1), "--config", str(file), gpus=3)
    assert started["encode-0"][1:] == (
        *("--base-gpu-id", "2", "--config", str(file)),
        *("--tp-size", "1"),
    )
    assert started["worker-0"][1:3] == ("--base-gpu-id", "0")
