"""`kvmesh up` and `kvmesh chat`, as a person at a terminal uses them: real processes on the sim
engine.
"""

import asyncio
import http.client
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from frontend.cli.addresses import http_url, mesh_address_to_dial
from frontend.cli.child import LINE_BYTES_MAX, Child
from frontend.cli.main import main
from frontend.cli.plan import system_ports, worker_names
from frontend.cli.progress import how_to_talk
from protocol.process.packaging import VERSION
from protocol.process.start_error import EXIT_CANNOT_START
from starter.ports import free_port
from starter.process import Process, running_in
from starter.waiting import wait_until
from tests.kit.fleet import Fleet

SIM = ("--served-model-name", "demo", "--sim-speedup", "0", "--context-length", "4096")
DEAD_PROXY = {"http_proxy": "http://127.0.0.1:9", "no_proxy": ""}
GONE_S_MAX = 20.0
"""Ten seconds is what children are given to stop."""

MAIN = "from frontend.cli.main import main; raise SystemExit(main())"
IMPATIENT = "from frontend.cli import up; up.RESTARTS_MAX = 1; up.RESTART_PAUSE_S = 0.05; " + MAIN


def start_up(
    fleet: Fleet,
    *arguments: str,
    code: str = MAIN,
    env: dict[str, str] | None = None,
    worker_arguments: tuple[str, ...] = SIM,
) -> Process:
    """`kvmesh up` on the fleet's addresses."""
    up = (sys.executable, "-c", code, "up", "--engine", "sim")
    command = [*up, *fleet.addresses.options, *arguments, "--", *worker_arguments]
    return fleet.launch("up", command, env=env)


def children(up: Process, module: str = "") -> list[int]:
    """The processes that `kvmesh up` started; each leads a session."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(up.popen.pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return [int(line.split()[0]) for line in listed.stdout.splitlines() if f"-m {module}" in line]


def only_line(up: Process) -> str:
    """What it said, beside how far it was on a busy machine."""
    (line,) = [line for line in up.output().splitlines() if "workers ready" not in line]
    return line


def ready(fleet: Fleet) -> list[str]:
    return sorted(
        worker["worker_id"] for worker in fleet.get("/health")[1]["workers"] if worker["ready"]
    )


def chat(
    *arguments: str, say: str = "", env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", MAIN, "chat", *arguments],
        input=say,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | (env or {}),
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Process]]:
    """Two workers, whatever proxy the environment names, and all else by the environment."""
    fleet = Fleet(tmp_path_factory.mktemp("up"))
    addresses = {
        "KVMESH_HTTP_PORT": str(fleet.http_port),
        "KVMESH_MESH_BIND": fleet.mesh,
        "DYN_SYSTEM_PORT": str(system_port_pair()),
    }
    command = [sys.executable, "-c", MAIN, "up", "--engine", "sim", "--workers", "2", "--", *SIM]
    up = fleet.launch("up", command, env={**DEAD_PROXY, **addresses, "KVMESH_WORKER_ID": "here"})
    fleet.wait_until(lambda: "curl" in up.output(), "it says how to talk to it")
    yield fleet, up
    fleet.stop()


def system_port_pair() -> int:
    """A free port with a free one behind it; they are handed out from the highest down."""
    upper = free_port()
    while (lower := free_port()) != upper - 1:
        upper = lower
    return lower


def test_up_serves_and_says_how_to_talk_to_it(served: tuple[Fleet, Process]) -> None:
    fleet, up = served
    assert f"address   {fleet.url}/v1\n" in up.output()
    assert "model     demo\n" in up.output()
    command = next(
        line.strip() for line in up.output().splitlines() if line.strip().startswith("curl ")
    )
    answer = subprocess.run(
        ["bash", "-c", f"{command} --fail -s"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert answer.returncode == 0, answer
    assert '"role":"assistant"' in answer.stdout


def test_workers_of_one_host_have_names_of_their_own(served: tuple[Fleet, Process]) -> None:
    assert ready(served[0]) == ["here-0", "here-1"]


def test_chat_answers_whatever_proxy_the_environment_names(served: tuple[Fleet, Process]) -> None:
    done = chat("--url", f"{served[0].url}/v1/", say="hello\nand again\n", env=DEAD_PROXY)
    assert (done.returncode, done.stderr) == (0, "")
    first, second = done.stdout.split("> ")[1:3]
    assert first.strip()
    assert second.strip()


def test_chat_shows_what_the_frontend_says_is_wrong(served: tuple[Fleet, Process]) -> None:
    done = chat("--url", f"{served[0].url}/v1", "--model", "nobody", say="hello\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "nobody" in done.stdout.partition("> ")[2]


def test_chat_without_a_frontend_says_so() -> None:
    for url in (f"http://127.0.0.1:{free_port()}/v1", "nonsense"):
        done = chat("--url", url)
        assert (done.returncode, done.stdout, done.stderr) == (
            1,
            f"kvmesh: no model is served at {url}\n",
            "",
        )
    done = chat("--url", url, "--model", "demo", say="hello\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert "no answer" in done.stdout


BEGINNING = b'data: {"choices": [{"delta": {"content": "half an ans"}}]}\n\n'


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n" + BEGINNING,
            "half an ans\n[the answer broke off]",
        ),
        (
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%s\r\n"
            % (len(BEGINNING), BEGINNING),
            "half an ans",
        ),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: {broken\n\n", "no answer"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", "HTTP Error 500"),
        (b"nonsense\r\n\r\n", "no answer"),
        (b"", "no answer"),
    ],
)
def test_chat_survives_whatever_answers(answer: bytes, shown: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)

        serving = threading.Thread(target=serve_one)
        serving.start()
        done = chat(
            "--url",
            f"http://127.0.0.1:{listener.getsockname()[1]}/v1",
            "--model",
            "m",
            say="hello\n",
        )
        serving.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


def test_a_killed_worker_is_started_again_and_serves(served: tuple[Fleet, Process]) -> None:
    fleet, up = served
    killed = children(up, "workers")[0]
    os.kill(killed, signal.SIGKILL)
    fleet.wait_until(lambda: len(ready(fleet)) == 1, "it is missed")
    fleet.wait_until(lambda: ready(fleet) == ["here-0", "here-1"], "it is back")
    assert killed not in children(up, "workers")
    assert re.search(r"worker-\d ended with exit code -9", up.output())
    with fleet.client() as client:
        for _ in range(4):
            assert client.completions.create(model="demo", prompt="hi").choices[0].text


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_all_of_it(fleet: Fleet, number: signal.Signals) -> None:
    up = start_up(fleet, "--workers", "2")
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    sessions = children(up)
    assert len(sessions) == 3
    assert up.stop(number, GONE_S_MAX) == 0
    assert running_in(sessions) == []


def test_a_signal_while_workers_load_ends_all_of_it(fleet: Fleet) -> None:
    up = start_up(fleet, worker_arguments=(*SIM, "--sim-startup-s", "600"))
    fleet.wait_until(lambda: bool(fleet.get("/health")[1]["loading"]), "it loads")
    sessions = children(up)
    assert up.stop(signal.SIGINT, GONE_S_MAX) == 0
    assert running_in(sessions) == []


def test_the_death_of_up_itself_ends_all_of_it(fleet: Fleet, tmp_path: Path) -> None:
    two = ("--frontend-processes", "2", "--mesh-bind", f"ipc://{tmp_path}/mesh")
    up = start_up(fleet, "--workers", "2", *two)
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    sessions = children(up)
    assert len(sessions) == 3
    up.popen.kill()
    up.popen.wait()
    try:
        wait_until(lambda: running_in(sessions) == [], "all are gone", wait_s_max=GONE_S_MAX)
    finally:
        for line in running_in(sessions):
            os.kill(int(line.split()[1]), signal.SIGKILL)


def test_a_taken_port_is_one_line_and_exit_code_3(fleet: Fleet) -> None:
    with socket.create_server(("127.0.0.1", fleet.http_port)):
        up = start_up(fleet, "--workers", "2")
        assert up.popen.wait(60) == 3
    line = only_line(up)
    assert line.startswith(
        f"kvmesh frontend cannot start: cannot serve HTTP on 127.0.0.1:{fleet.http_port}: "
        "Address already in use"
    )
    assert up.children_left() == []


def test_a_taken_mesh_is_one_line_and_says_what_to_do(
    served: tuple[Fleet, Process], fleet: Fleet
) -> None:
    up = fleet.launch(
        "up",
        [
            *(sys.executable, "-c", MAIN, "up", "--engine", "sim"),
            *("--http-port", str(fleet.http_port), "--mesh-bind", served[0].mesh),
        ],
    )
    assert up.popen.wait(60) == 3
    line = only_line(up)
    assert line.startswith(
        f"kvmesh frontend cannot start: cannot bind the mesh to {served[0].mesh}: Address "
        "already in use"
    )
    assert line.endswith("another address is given by --mesh-bind")


def test_what_is_for_the_engines_is_told_to_go_behind_the_dashes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["up", "--workers", "2", "--tp", "2"])
    assert ended.value.code == 2
    assert "what is for the engines goes behind --: kvmesh up -- --tp 2" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"kvmesh {VERSION}\n")


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (
            ("--no-such-flag",),
            "kvmesh worker cannot start: the sim engine does not know: --no-such-flag",
        ),
        (("--log-level", "loud"), "--log-level"),
        (("--kvmesh-config", __file__), f'in "{__file__}", line 1'),
    ],
)
def test_a_worker_that_cannot_start_ends_it_with_the_workers_line(
    fleet: Fleet, arguments: tuple[str, ...], why: str
) -> None:
    up = start_up(fleet, worker_arguments=arguments)
    assert up.popen.wait(60) == EXIT_CANNOT_START
    line = only_line(up)
    assert why in line


def test_a_worker_that_served_in_between_is_not_given_up(fleet: Fleet) -> None:
    up = start_up(fleet, code=IMPATIENT)
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    for _ in range(3):
        (worker,) = children(up, "workers")
        os.kill(worker, signal.SIGKILL)
        fleet.wait_until(lambda: ready(fleet) == [], "it is missed")
        fleet.wait_until(lambda: len(ready(fleet)) == 1, "it is back")
        time.sleep(1.0)  # two polls of `kvmesh up` itself, which cannot be watched from here


def test_a_worker_that_never_serves_is_given_up(fleet: Fleet) -> None:
    up = start_up(fleet, code=IMPATIENT, worker_arguments=(*SIM, "--sim-startup-s", "600"))
    fleet.wait_until(lambda: bool(fleet.get("/health")[1]["loading"]), "it loads")
    for _ in range(2):
        fleet.wait_until(lambda: len(children(up, "workers")) == 1, "a worker runs")
        os.kill(children(up, "workers")[0], signal.SIGKILL)
        wait_until(lambda: not up.alive() or "again" in up.output(), "it is noticed")
    assert up.popen.wait(60) == 1
    assert "worker-0 ended 2 times without serving; giving up" in up.output()


def test_a_mesh_open_to_other_hosts_is_served_on_this_one(fleet: Fleet, tmp_path: Path) -> None:
    key = tmp_path / "mesh.key"
    key.write_text("ab" * 32)
    port = fleet.mesh.rpartition(":")[2]
    up = start_up(
        fleet,
        "--http-host",
        "0.0.0.0",
        "--mesh-bind",
        f"tcp://*:{port}",
        "--mesh-key-file",
        str(key),
    )
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    assert f"address   {fleet.url}/v1\n" in up.output()


def test_an_open_mesh_without_a_key_is_one_line(fleet: Fleet) -> None:
    up = start_up(fleet, "--mesh-bind", "tcp://0.0.0.0:5550")
    assert up.popen.wait(60) == 3
    line = only_line(up)
    assert "--mesh-key-file" in line


def test_the_demo_model_that_sees_is_served_by_its_name(fleet: Fleet) -> None:
    up = start_up(fleet, "--demo", "vision", worker_arguments=("--sim-speedup", "0"))
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    assert "model     kvmesh-demo-vision\n" in up.output()


def test_the_demo_model_that_draws_is_served_by_its_name_and_in_its_size(fleet: Fleet) -> None:
    up = start_up(fleet, "--demo", "image", worker_arguments=("--sim-step-ms", "0"))
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    assert "model     kvmesh-demo-image\n" in up.output()
    assert f"kvmesh chat --url {fleet.url}/v1 --image 'a red circle on blue'\n" in up.output()
    with fleet.client() as client:
        answer = client.images.generate(prompt="a red circle on blue", response_format="b64_json")
    assert answer.size == "128x128"


def test_a_demo_model_beside_another_model_is_one_line(fleet: Fleet) -> None:
    up = start_up(fleet, "--demo", "vision", "--model-path", "/elsewhere")
    assert up.popen.wait(60) == 3
    assert "--demo and --model-path exclude each other" in only_line(up)


def test_ipv6_is_served(fleet: Fleet) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this host")
    up = start_up(fleet, "--http-host", "::1")
    fleet.wait_until(lambda: "curl" in up.output(), "it serves")
    assert f"address   http://[::1]:{fleet.http_port}/v1\n" in up.output()
    connection = http.client.HTTPConnection("::1", fleet.http_port, timeout=10)
    connection.request("GET", "/ready")
    assert connection.getresponse().status == 200
    connection.close()


CRASH_AND_LEAVE = """
import subprocess, sys
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
left = subprocess.Popen(sleep, start_new_session={new_session})
print("left", left.pid, flush=True)
raise SystemExit(7)
"""


async def test_a_crash_is_seen_although_a_grandchild_holds_the_pipe() -> None:
    child = Child("crash", ["-c", CRASH_AND_LEAVE.format(new_session=False)], verbose=False)
    await child.start()
    async with asyncio.timeout(60):
        assert await child.wait() == 7
    grandchild = int(child.last_words().split()[-1])
    wait_until(lambda: not _runs(grandchild), "the session is gone", wait_s_max=GONE_S_MAX)
    await child.stop(1)  # nothing is left to stop


async def test_a_process_that_left_the_session_cannot_hold_anyone_up() -> None:
    child = Child("crash", ["-c", CRASH_AND_LEAVE.format(new_session=True)], verbose=False)
    await child.start()
    async with asyncio.timeout(60):
        assert await child.wait() == 7
    os.kill(int(child.last_words().split()[-1]), signal.SIGKILL)


async def test_long_lines_do_not_end_the_reading() -> None:
    child = Child("loud", ["-c", "print('x' * 3_000_000); print('end')"], verbose=False)
    await child.start()
    assert await child.wait() == 0
    assert child.last_words().endswith("  [loud] end")
    assert len(child.last_words()) < 2 * LINE_BYTES_MAX


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', "
        "flush=True); time.sleep(600)"
    )
    child = Child("deaf", ["-c", code], verbose=False)
    await child.start()
    while "deaf" not in child.last_words().partition("]")[2]:
        await asyncio.sleep(0.02)
    async with asyncio.timeout(60):
        await child.stop(0.1)


def _runs(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout
    return bool(state) and not state.startswith("Z")


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("gpu-7", "http://gpu-7:80"),
    ],
)
def test_the_announced_address_can_be_opened(host: str, url: str) -> None:
    assert http_url(host, 80) == url


@pytest.mark.parametrize(
    ("bind", "dial"),
    [
        ("tcp://*:5550", "tcp://127.0.0.1:5550"),
        ("tcp://0.0.0.0:5550", "tcp://127.0.0.1:5550"),
        ("tcp://[::]:5550", "tcp://[::1]:5550"),
        ("tcp://:::5550", "tcp://[::1]:5550"),
        ("tcp://10.0.0.5:5550", "tcp://10.0.0.5:5550"),
        ("ipc:///tmp/mesh", "ipc:///tmp/mesh"),
    ],
)
def test_workers_dial_an_address_that_exists(bind: str, dial: str) -> None:
    assert mesh_address_to_dial(bind) == dial


def test_worker_names_come_from_the_flag_then_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("KVMESH_WORKER_ID", "env")
    assert worker_names(["0"], ["--tp", "2"]) == (["env"], ["--tp", "2"])
    assert worker_names(["0", "1"], ["--worker-id=flag", "--tp", "2"]) == (
        ["flag-0", "flag-1"],
        ["--tp", "2"],
    )
    monkeypatch.delenv("KVMESH_WORKER_ID")
    assert worker_names(["0", "1"], [])[0] != worker_names(["0", "1"], [])[0]


def test_each_worker_has_a_system_port_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DYN_SYSTEM_PORT", raising=False)
    assert system_ports(2, ["--tp", "2"]) == ([[], []], ["--tp", "2"])
    monkeypatch.setenv("DYN_SYSTEM_PORT", "9090")
    assert system_ports(2, []) == ([["--system-port", "9090"], ["--system-port", "9091"]], [])
    for same in ("0", "-1", "nonsense"):
        assert system_ports(2, [f"--system-port={same}"]) == ([["--system-port", same]] * 2, [])


def test_the_commands_survive_names_that_a_shell_would_read() -> None:
    curl = how_to_talk("http://[::1]:80", "it's $HOME", "text").splitlines()[-1]
    assert shlex.split(curl)[1] == "http://[::1]:80/v1/chat/completions"
    assert '"model": "it\'s $HOME"' in shlex.split(curl)[-1]
