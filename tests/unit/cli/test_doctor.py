"""What `kvmesh doctor` makes of planted facts: limits, disks, keys, GPUs, sockets, clocks."""

import argparse
import asyncio
import os
import resource
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from frontend.cli.doctor import (
    clock,
    disks,
    gpus,
    key_file,
    limits,
    listeners,
    names,
    ports,
    versions,
)
from frontend.cli.doctor.examination import examine
from frontend.cli.doctor.finding import Finding, ok
from frontend.cli.doctor.greeting import Spoken, spoken_at
from frontend.cli.doctor.options import add_arguments
from frontend.cli.doctor.processes import Member, part_of
from frontend.cli.doctor.report import exit_code
from frontend.cli.doctor.subject import Subject, subject_of
from frontend.settings import FrontendSettings
from protocol.transport.curve import MeshKey
from protocol.transport.loop_router import LoopRouter
from starter.ports import free_port
from workers.settings import WorkerSettings

GIB = 2**30
KEY = bytes(range(32))


def verdicts(findings: list[Finding]) -> list[str]:
    return [each.verdict for each in findings]


def looked_at(*argv: str, environ: dict[str, str] | None = None) -> tuple[Subject, Finding]:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return subject_of(parser.parse_args(argv), environ or {})


def test_every_finding_that_is_not_right_says_how_to_mend_it() -> None:
    found = [
        limits.judge_shared_memory("/dev/shm", 64 * 2**20, 60 * 2**20),
        limits.judge_shared_memory("/dev/shm", GIB, GIB - 1),
        limits.judge_shared_memory("/dev/shm", 8 * GIB, 8 * GIB),
        limits.open_files(1024),
        limits.open_files(resource.RLIM_INFINITY),
        limits.processes(1000),
        limits.processes(100_000),
        limits.locked_memory(8 * 2**20, rdma=True),
        limits.locked_memory(8 * 2**20, rdma=False),
        limits.locked_memory(resource.RLIM_INFINITY, rdma=True),
        disks.judge("x", Path("/x"), 100, GIB),
        disks.judge("x", Path("/x"), 2 * GIB, 10 * GIB),
        disks.judge("x", Path("/x"), 2 * GIB, GIB),
        clock.judge_kernel(5),
        clock.judge_kernel(0),
        clock.judge_kernel(None),
        clock.judge_difference(-120.0),
        clock.judge_difference(0.6),
    ]
    expected = "fail warn ok warn ok warn ok warn ok ok fail warn ok warn ok ok fail ok"
    assert verdicts(found) == expected.split()
    assert all(bool(each.mend) == (each.verdict != "ok") for each in found)
    assert exit_code(found) == 1
    assert exit_code([each for each in found if each.verdict != "fail"]) == 0


def test_a_check_that_hangs_is_not_waited_for_and_one_that_fails_is_told() -> None:
    let_go = threading.Event()

    def hanging(_: Subject) -> Iterator[Finding]:
        let_go.wait()
        yield ok("hanging", "too late")

    def broken(_: Subject) -> Iterator[Finding]:
        raise RuntimeError("no\nsuch thing")

    checks = {"hanging": hanging, "broken": broken, "fine": lambda _: [ok("fine", "it is")]}
    found = examine(checks, looked_at()[0], wait_s_max=0.2)
    let_go.set()
    assert verdicts(found) == ["warn", "warn", "ok"]
    assert "no answer within 0.2 s" in found[0].says
    assert "RuntimeError: no such thing" in found[1].says


@pytest.mark.parametrize(
    ("mode", "content", "verdict", "says"),
    [
        (0o600, KEY.hex(), "ok", "for its owner alone"),
        (0o600, KEY.hex().upper() + "\n", "ok", "for its owner alone"),
        (0o640, KEY.hex(), "fail", "others than its owner"),
        (0o604, KEY.hex(), "fail", "others than its owner"),
        (0o600, KEY.hex()[:-2], "fail", "exactly 64 hex digits"),
        (0o600, "secret", "fail", "64 hex digits"),
        (0o600, "", "fail", "64 hex digits"),
        (0o600, "ab" * 32, "fail", "not random"),
        (None, "", "fail", "64 hex digits"),
    ],
)
def test_a_key_file_is_judged_and_never_told(
    tmp_path: Path, mode: int | None, content: str, verdict: str, says: str
) -> None:
    path = tmp_path / "mesh.key"
    if mode is not None:
        path.write_text(content)
        path.chmod(mode)
    (found,) = key_file.check(looked_at("--mesh-key-file", str(path))[0])
    assert found.verdict == verdict
    assert says in found.says
    assert not content or content.strip() not in found.says + found.mend


def test_a_workers_token_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "token"
    assert key_file.token_file(path).verdict == "fail"
    path.write_text("two words")
    path.chmod(0o600)
    assert key_file.token_file(path).verdict == "fail"
    path.write_text(KEY.hex())
    found = key_file.check(looked_at(environ={key_file.TOKEN_VARIABLE: str(path)})[0])
    assert [each.about for each in found] == ["mesh key", "system token"]
    assert key_file.token_file(path).verdict == "ok"
    path.chmod(0o644)
    assert key_file.token_file(path).verdict == "fail"
    assert KEY.hex() not in str(key_file.token_file(path))


@pytest.mark.parametrize(
    ("addresses", "verdict"),
    [
        (["ipc:///tmp/x"], "ok"),
        (["tcp://127.0.0.1:5550"], "warn"),
        (["tcp://[::1]:5550"], "warn"),
        (["tcp://localhost:5550"], "warn"),
        (["tcp://0.0.0.0:5550"], "fail"),
        (["tcp://*:5550"], "fail"),
        (["ipc:///tmp/x", "tcp://frontends.example:5550"], "fail"),
    ],
)
def test_a_mesh_without_a_key_goes_by_who_reaches_it(addresses: list[str], verdict: str) -> None:
    assert key_file.without(addresses).verdict == verdict


def nvidia_smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_gpus_are_told_with_their_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listing = "NVIDIA H200, 570.86.15, 143771, 100000\nNVIDIA H200, 570.86.15, 143771, 0"
    script = f'case "$1" in --query*) echo "{listing}";; *) echo "| CUDA Version: 12.8 |";; esac'
    nvidia_smi(tmp_path, script, monkeypatch)
    monkeypatch.setattr(gpus, "cuda_of_torch", lambda: "12.9")
    found = list(gpus.check(looked_at(environ={"CUDA_VISIBLE_DEVICES": "7"})[0]))
    assert verdicts(found) == ["warn", "ok", "fail", "ok"]
    assert "GPU 1: NVIDIA H200, driver 570.86.15, 0 of 143771 MiB used" in found[1].says
    assert "leaves 0 of 2" in found[2].says
    assert found[3].says == "torch is built for 12.9, the driver runs up to 12.8"


def test_a_driver_that_fails_or_hangs_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nvidia_smi(tmp_path, "echo NVIDIA-SMI has failed; exit 9", monkeypatch)
    (found,) = gpus.check(looked_at()[0])
    assert (found.verdict, found.says) == ("fail", "NVIDIA-SMI has failed")
    nvidia_smi(tmp_path, "exec sleep 60", monkeypatch)
    monkeypatch.setattr(gpus, "LISTING_S_MAX", 0.1)
    (found,) = gpus.check(looked_at()[0])
    assert "did not answer" in found.says


@pytest.mark.parametrize(
    ("driver", "torch", "verdict"),
    [
        ("12.8", "12.9", "ok"),
        ("12.8", "13.0", "fail"),
        ("12.8", "", "fail"),
        (None, "12.9", "warn"),
        ("12.8", None, "warn"),
    ],
)
def test_torch_must_suit_the_driver(driver: str | None, torch: str | None, verdict: str) -> None:
    assert gpus.torch_suits(driver, torch).verdict == verdict


def test_a_host_without_nvidia_smi_may_have_gpus_all_the_same(tmp_path: Path) -> None:
    assert gpus.without(tmp_path).verdict == "ok"
    (tmp_path / "nvidia0").touch()
    assert gpus.without(tmp_path).verdict == "warn"


def test_versions_need_neither_engine_nor_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {each.about: each for each in versions.check(looked_at()[0])}
    assert found["python"].verdict == found["kvmesh"].verdict == found["pyzmq"].verdict == "ok"
    there = {"sglang": "0.0.1"}
    monkeypatch.setattr(versions, "installed", there.get)
    found = {each.about: each for each in versions.check(looked_at()[0])}
    assert "not installed" in found["torch"].says
    assert found["sglang"].verdict == "warn"
    assert "made for" in found["sglang"].says


def test_settings_that_cannot_be_read_are_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KVMESH_HTTP_PORT", "many")
    there, found = looked_at()
    assert (found.verdict, there.settings) == ("fail", FrontendSettings())
    assert "many" in found.says
    monkeypatch.setenv("KVMESH_HTTP_PORT", "70000")
    assert "--http-port" in looked_at()[1].says


def test_a_password_in_a_url_is_dropped_and_lists_are_read() -> None:
    there, _ = looked_at(
        "--url",
        "http://me:secret@host:8000/v1",
        environ={"KVMESH_FRONTEND": "[tcp://a:1, tcp://b:2]"},
    )
    assert there.url == "http://host:8000"
    assert there.dialled == ("tcp://a:1", "tcp://b:2")


def test_names_that_nobody_knows_and_ports_that_nobody_has_fail() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        (found,) = names.dialled(f"tcp://127.0.0.1:{port}")
        assert found.verdict == "ok"
    (found,) = names.dialled(f"tcp://127.0.0.1:{port}")
    assert found.verdict == "fail"
    assert "refused" in found.says
    assert names.resolved("url", "no-such-host.invalid").verdict == "fail"
    assert names.resolved("url", "localhost").verdict == "ok"
    assert verdicts(list(names.dialled("tcp://nonsense"))) == ["fail"]


def test_a_free_port_is_free_and_a_taken_one_says_by_whom() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        found = ports.tcp("port", "127.0.0.1", port, "choose another")
        assert found.verdict == "fail"
        assert f"(pid {os.getpid()})" in found.says
    assert ports.tcp("port", "127.0.0.1", port, "choose another").verdict == "ok"
    assert ports.tcp("port", "192.0.2.1", port, "choose another").verdict == "fail"
    assert ports.mesh("nonsense").verdict == "fail"


def test_a_port_that_is_configured_twice_fails() -> None:
    several = ("--http-port", "5551", "--mesh-bind", "tcp://127.0.0.1:5550")
    assert list(ports.taken_twice(looked_at(*several)[0])) == []
    (found,) = ports.taken_twice(looked_at(*several, "--frontend-processes", "2")[0])
    assert "5551 is configured for HTTP and for the mesh of process 2" in found.says


def test_a_mesh_file_is_free_or_not(tmp_path: Path) -> None:
    path = tmp_path / "mesh"
    assert ports.mesh(f"ipc://{path}").says == f"{path} is free"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        assert "running frontend" in ports.mesh_file(path).says
    assert "has ended" in ports.mesh_file(path).says
    assert ports.mesh_file(tmp_path / ("x" * 120)).verdict == "fail"
    tmp_path.chmod(0o777)
    assert ports.mesh_file(path).verdict == "fail"


def test_an_abstract_name_is_free_or_not(tmp_path: Path) -> None:
    address = f"ipc://@{tmp_path}"
    assert ports.mesh(address).says == f"@{tmp_path} is free"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{tmp_path}")
        listener.listen()
        assert ports.mesh(address).says == f"@{tmp_path} is a running frontend's"


def test_ports_of_workers_are_those_of_their_settings() -> None:
    known = {
        field.metadata["env"]
        for field in WorkerSettings.__dataclass_fields__.values()
        if "env" in field.metadata
    }
    assert {variable for variable, *_ in ports.WORKER_PORTS} <= known
    assert key_file.TOKEN_VARIABLE in known


@contextmanager
def mesh_socket(key: MeshKey | None) -> Iterator[int]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    router = context.socket(zmq.ROUTER)
    if key is not None:
        key.protect_server(router)
    try:
        yield router.bind_to_random_port("tcp://127.0.0.1")
    finally:
        router.close(0)
        if key is not None:
            key.close()
        context.term()


def test_what_is_spoken_at_a_port_is_found_out() -> None:
    with mesh_socket(None) as port:
        assert spoken_at("127.0.0.1", port) is Spoken.OPEN_MESH
    with mesh_socket(MeshKey(KEY)) as port:
        assert spoken_at("127.0.0.1", port) is Spoken.KEYED_MESH
    assert spoken_at("127.0.0.1", port) is Spoken.UNKNOWN


async def test_a_mesh_on_the_loop_is_found_out_too() -> None:
    address = f"tcp://127.0.0.1:{free_port()}"
    failures: list[int] = []
    router = LoopRouter(address, on_failure=failures.append)
    router.open(lambda _: None, lambda _: None)
    port = int(address.rpartition(":")[2])
    assert await asyncio.to_thread(spoken_at, "127.0.0.1", port) is Spoken.OPEN_MESH
    router.close()
    await router.deserted()
    assert failures == []


@pytest.mark.parametrize(
    ("answer", "spoken"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Spoken.HTTP),
        (b"HTTP/1.1 401 Unauthorized\r\n\r\n", Spoken.GUARDED_HTTP),
        (b"SSH-2.0\r\n", Spoken.UNKNOWN),
        (b"", Spoken.UNKNOWN),
    ],
)
def test_what_others_say_at_a_port_is_told_apart(answer: bytes, spoken: Spoken) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one() -> None:
            with listener.accept()[0] as connection:
                connection.recv(4096)
                connection.sendall(answer)

        serving = threading.Thread(target=serve_one)
        serving.start()
        assert spoken_at("127.0.0.1", listener.getsockname()[1]) is spoken
        serving.join()


@pytest.mark.parametrize(
    ("part", "host", "spoken", "verdict"),
    [
        ("frontend", "127.0.0.1", Spoken.OPEN_MESH, "ok"),
        ("frontend", "0.0.0.0", Spoken.OPEN_MESH, "fail"),
        ("frontend", "::", Spoken.KEYED_MESH, "ok"),
        ("frontend", "10.0.0.1", Spoken.HTTP, "warn"),
        ("frontend's child", "10.0.0.1", Spoken.HTTP, "warn"),
        ("worker", "0.0.0.0", Spoken.HTTP, "warn"),
        ("worker", "0.0.0.0", Spoken.GUARDED_HTTP, "ok"),
        ("worker's engine", "0.0.0.0", Spoken.UNKNOWN, "warn"),
    ],
)
def test_sockets_open_to_other_hosts_are_warned_of(
    part: str, host: str, spoken: Spoken, verdict: str
) -> None:
    member = Member(7, part, tcp=((host, 5550),))
    (found,) = listeners.of_member(member, lambda *_: spoken)
    assert found.verdict == verdict
    assert "(pid 7) listens on" in found.says


@pytest.mark.parametrize(
    ("argv", "part"),
    [
        (["/usr/bin/python3.11", "-m", "frontend", "--http-port", "1"], "frontend"),
        (["python", "-X", "dev", "-m", "workers"], "worker"),
        (["python", "/x/bin/kvmesh", "up", "--workers", "2"], "kvmesh up"),
        (["python", "/x/bin/kvmesh", "doctor"], None),
        (["python", "-m", "http.server"], None),
        (["nginx", "-m", "frontend"], None),
        ([], None),
    ],
)
def test_processes_of_kvmesh_are_known_by_their_command(argv: list[str], part: str | None) -> None:
    assert part_of(argv) == part


def test_a_place_that_may_not_be_written_to_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert disks.place("cache", tmp_path / "not" / "yet", 0).verdict == "ok"
    monkeypatch.setattr(os, "access", lambda *_: False)
    assert disks.place("cache", tmp_path, 0).verdict == "fail"
    home = disks.hugging_face_hub({"HF_HOME": "/models"})
    assert home == Path("/models/hub")
