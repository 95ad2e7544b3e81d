"""`kvmesh doctor` as a person at a terminal uses it, beside real frontends and workers."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from starter.ports import free_port, reserve_ports
from tests.kit.fleet import Fleet

MAIN = "from frontend.cli.main import main; raise SystemExit(main())"
NO_ENGINE = (
    "import sys; sys.modules.update(dict.fromkeys(('torch', 'sglang', 'transformers'))); " + MAIN
)
SIM = ("--engine", "sim", "--served-model-name", "demo", "--sim-speedup", "0")
SECRET = "0123456789abcdef" * 4


def doctor(
    *arguments: str, env: dict[str, str] | None = None, code: str = MAIN
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, "doctor", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env=os.environ | (env or {}),
    )


def told(*arguments: str, **options: Any) -> tuple[int, list[dict[str, str]]]:
    """The exit code and the findings."""
    done = doctor("--json", *arguments, **options)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)["findings"]


def about(findings: list[dict[str, str]], name: str) -> list[dict[str, str]]:
    return [each for each in findings if each["about"] == name]


def test_a_mesh_that_is_well_is_told_so(fleet: Fleet, tmp_path: Path) -> None:
    key = tmp_path / "mesh.key"
    key.write_text(SECRET)
    key.chmod(0o600)
    options = (*fleet.addresses.options, "--mesh-key-file", str(key))
    frontend = fleet.start("frontend", *options, "--http-host", "0.0.0.0")
    port = free_port()
    system = ("--system-port", str(port), "--system-host", "0.0.0.0")
    worker = fleet.start(
        "workers", *SIM, "--frontend", fleet.mesh, "--mesh-key-file", str(key), *system
    )
    fleet.wait_for_workers(1)
    secret = {"SOME_API_KEY": SECRET}
    code, findings = told(
        *options, "--http-host", "0.0.0.0", "--frontend", fleet.mesh, env=secret, code=NO_ENGINE
    )
    # this machine may have faults of its own
    failed = {each["about"] for each in findings if each["verdict"] == "fail"}
    assert code == bool(failed)
    assert failed <= {
        "/dev/shm",
        "GPUs",
        "CUDA",
        "frontend cache",
        "model cache",
        "temporary files",
    }
    assert about(findings, "frontend")[0]["says"] == f"{fleet.url} is healthy"
    assert "serves demo (sim)" in about(findings, "worker")[0]["says"]
    sockets = {each["says"]: each["verdict"] for each in about(findings, "sockets")}
    http = f"frontend (pid {frontend.pid}) listens on 0.0.0.0:{fleet.http_port}"
    assert sockets[f"{http}, for other hosts too: HTTP, without a login"] == "warn"
    mesh = fleet.mesh.removeprefix("tcp://")
    assert sockets[f"frontend (pid {frontend.pid}) listens on {mesh}, for this host"] == "ok"
    guarded = f"worker (pid {worker.pid}) listens on 0.0.0.0:{port}, for other hosts too: HTTP, and"
    assert [sockets[each] for each in sockets if each.startswith(guarded)] == ["ok"]
    assert any(f"worker (pid {worker.pid}) listens on files" in each for each in sockets)
    assert f"(pid {frontend.pid})" in about(findings, "http port")[0]["says"]
    assert f"(pid {frontend.pid})" in about(findings, "mesh")[0]["says"]
    assert about(findings, "dialled")[0]["verdict"] == "ok"
    assert SECRET not in json.dumps(findings)
    assert "Invalid HTTP request" not in frontend.output() + worker.output()


def test_several_processes_of_one_port_are_no_strangers(fleet: Fleet) -> None:
    mesh = f"tcp://127.0.0.1:{reserve_ports(2)}"
    several = (
        "--http-port",
        str(fleet.http_port),
        "--mesh-bind",
        mesh,
        "--frontend-processes",
        "2",
    )
    frontend = fleet.start("frontend", *several)
    fleet.wait_until(lambda: "process 1 of 2 serves" in frontend.output(), "the first serves")
    fleet.wait_until(lambda: "process 2 of 2 serves" in frontend.output(), "the second serves")
    _, findings = told(*several)
    meshes = about(findings, "mesh")
    assert [each["verdict"] for each in meshes] == ["ok", "ok"]
    assert all("listened on by kvmesh's frontend's child" in each["says"] for each in meshes)
    assert about(findings, "http port")[0]["verdict"] == "ok"
    port = fleet.http_port
    listening = [each for each in about(findings, "sockets") if f":{port}," in each["says"]]
    assert len(listening) == 3  # the parent and two children


def test_a_lost_worker_is_told_with_the_reason(fleet: Fleet) -> None:
    fleet.frontend()
    worker = fleet.worker(*SIM[2:])
    fleet.wait_for_workers(1)
    worker.popen.send_signal(signal.SIGKILL)
    fleet.wait_for_workers(0)
    code, findings = told("--url", fleet.url, "--http-port", "0")
    assert code == 1
    (found,) = about(findings, "frontend")
    assert found["verdict"] == "fail"
    assert "no worker is connected" in found["says"]


def test_a_taken_port_and_a_key_for_everybody_are_told_in_plain_lines(tmp_path: Path) -> None:
    key = tmp_path / "mesh.key"
    key.write_text(SECRET)
    key.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        done = doctor(
            *("--http-port", str(port), "--mesh-bind", f"ipc://{tmp_path}/mesh"),
            env={"KVMESH_MESH_KEY_FILE": str(key)},
        )
    assert (done.returncode, done.stderr) == (1, "")
    lines = done.stdout.splitlines()
    (taken,) = [each for each in lines if f"127.0.0.1:{port} is taken by" in each]
    assert taken.startswith("fail  http port")
    assert f"(pid {os.getpid()})" in taken
    assert "choose another with --http-port" in lines[lines.index(taken) + 1]
    (rights,) = [each for each in lines if "mode 0644" in each]
    assert rights.startswith("fail  mesh key")
    assert "chmod 600" in lines[lines.index(rights) + 1]
    assert SECRET not in done.stdout
    assert lines[-1].endswith(f"{sum(each.startswith('fail') for each in lines)} to mend")


def test_a_frontend_that_was_named_and_does_not_answer_fails() -> None:
    code, findings = told("--url", f"http://127.0.0.1:{free_port()}")
    assert code == 1
    assert "refused" in about(findings, "frontend")[0]["says"]


def test_what_takes_connections_and_says_nothing_hangs_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        code, findings = told("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
    assert code == 1
    assert "timed out" in about(findings, "frontend")[0]["says"]


def test_another_server_is_not_taken_for_a_frontend() -> None:
    body = b'["something else"]'
    answer = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        serving = threading.Thread(target=serve)
        serving.start()
        code, findings = told("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        listener.shutdown(socket.SHUT_RDWR)
        serving.join()
    assert code == 1
    assert "is no frontend of kvmesh" in about(findings, "frontend")[0]["says"]
