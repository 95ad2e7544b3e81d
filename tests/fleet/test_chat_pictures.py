"""`kvmesh chat --image` as a person at a terminal uses it, over a fleet with simulated pictures."""

import base64
import io
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from frontend.cli.main import main
from starter.process import REPO
from tests.fault.raw_http import requests_running
from tests.kit.fleet import Fleet

DRAWS = ("--image-diffusion-worker", "--served-model-name", "draws", "--sim-step-ms", "0")
CHATS = ("--served-model-name", "chats", "--sim-speedup", "0")
MAIN = "from frontend.cli.main import main; raise SystemExit(main())"
PLAIN = {"TERM": "dumb", "TERM_PROGRAM": "", "KITTY_WINDOW_ID": "", "PYTHONIOENCODING": "utf-8"}
PATH = {"PYTHONPATH": str(REPO)}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A frontend with a worker that draws and one that chats."""
    fleet = Fleet(tmp_path_factory.mktemp("served"))
    fleet.frontend()
    fleet.worker(*DRAWS, "--media-default-size", "96x64")
    fleet.worker(*CHATS)
    fleet.wait_for_workers(2)
    yield fleet
    fleet.stop()


def command(url: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", MAIN, "chat", "--url", f"{url}/v1", *arguments]


def draw(url: str, folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(url, "--image", "a red circle", *arguments),
        cwd=folder,
        env=os.environ | PATH,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def on_terminal(url: str, folder: Path, environment: dict[str, str]) -> str:
    """What a terminal is written."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        command(url, "--image", "a red circle", "--seed", "7"),
        cwd=folder,
        env=os.environ | PATH | PLAIN | environment,
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    written = b""
    with open(master, "rb", buffering=0) as terminal:  # noqa: PTH123
        while True:
            try:
                written += terminal.read(65_536)
            except OSError:  # its other end is closed
                break
    assert process.wait(60) == 0
    return written.decode().replace("\r\n", "\n")


def opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.load()
        return picture


def test_a_picture_is_saved_under_a_name_of_ours_and_none_is_overwritten(
    served: Fleet, tmp_path: Path
) -> None:
    done = [draw(served.url, tmp_path, "--seed", seed) for seed in ("7", "8", "7")]
    names = [f"kvmesh-picture-{number}.png" for number in (1, 2, 3)]
    assert [(each.returncode, each.stdout, each.stderr) for each in done] == [
        (0, f"{name}\n", "") for name in names
    ]
    first, other, again = (tmp_path / name for name in names)
    assert sorted(tmp_path.iterdir()) == [first, other, again]
    assert opened(first).size == (96, 64)
    assert first.read_bytes() == again.read_bytes() != other.read_bytes()


@pytest.mark.parametrize(
    ("name", "written"), [("red.png", "PNG"), ("red.jpg", "JPEG"), ("red.WebP", "WEBP")]
)
def test_a_file_says_the_format_and_must_not_exist(
    served: Fleet, tmp_path: Path, name: str, written: str
) -> None:
    done = draw(served.url, tmp_path, "--size", "32x48", "--out", name)
    assert (done.returncode, done.stdout) == (0, f"{name}\n")
    picture = opened(tmp_path / name)
    assert (picture.format, picture.size) == (written, (32, 48))
    before = (tmp_path / name).read_bytes()
    done = draw(served.url, tmp_path, "--out", name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"kvmesh: {name} exists, and nothing is overwritten\n"
    assert (tmp_path / name).read_bytes() == before


def test_terminals_are_shown_the_picture_and_told_its_seed(served: Fleet, tmp_path: Path) -> None:
    end = re.compile(r"\n?kvmesh-picture-\d\.png \(seed 7\)\n$")
    plain = on_terminal(served.url, tmp_path, {})
    assert end.fullmatch(plain)
    blocks = on_terminal(served.url, tmp_path, {"TERM": "xterm", "COLORTERM": "truecolor"})
    assert end.search(blocks)
    assert blocks.count("▀") > 100
    iterm = on_terminal(served.url, tmp_path, {"TERM": "xterm", "TERM_PROGRAM": "iTerm.app"})
    assert end.search(iterm)
    told = re.search(r"\033\]1337;File=inline=1;size=\d+:(.*)\a", iterm)
    assert told
    assert base64.b64decode(told[1]) == (tmp_path / "kvmesh-picture-3.png").read_bytes()
    kitty = on_terminal(served.url, tmp_path, {"TERM": "xterm-kitty"})
    assert end.search(kitty)
    pieces = re.findall(r"\033_G[^;]*;([^\033]*)\033\\", kitty)
    with Image.open(io.BytesIO(base64.b64decode("".join(pieces)))) as shown:
        assert shown.size == (96, 64)


def test_what_is_wrong_is_one_line_and_leaves_no_file(served: Fleet, tmp_path: Path) -> None:
    for arguments, said in (
        (("--model", "chats"), "chats"),
        (("--model", "nobody"), "nobody"),
        (("--size", "large"), "size must be WIDTHxHEIGHT"),
        (("--seed", "-2"), "seed"),
        (("--out", "nowhere/red.png"), "No such file or directory"),
    ):
        done = draw(served.url, tmp_path, *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        assert re.fullmatch(f"kvmesh: .*{said}.*\n", done.stderr), done.stderr
    assert not list(tmp_path.iterdir())


def test_no_frontend_no_model_that_draws_and_several_are_told(fleet: Fleet, tmp_path: Path) -> None:
    done = draw(fleet.url, tmp_path)
    assert (done.returncode, done.stderr) == (1, f"kvmesh: no model is served at {fleet.url}/v1\n")
    fleet.frontend()
    fleet.worker(*CHATS)
    fleet.wait_for_workers(1)
    done = draw(fleet.url, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"kvmesh: no model that makes pictures is served at {fleet.url}/v1; "
    )
    assert done.stderr.count("\n") == 1
    for name in ("paints", "draws"):
        fleet.worker(*DRAWS, "--served-model-name", name)
    fleet.wait_for_workers(3)
    done = draw(fleet.url, tmp_path)
    assert done.returncode == 1
    assert re.fullmatch(
        r"kvmesh: several models make pictures: --model says which "
        r"\((draws, paints|paints, draws)\)\n",
        done.stderr,
    )
    assert draw(fleet.url, tmp_path, "--model", "paints").returncode == 0


def talk(url: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command(url), input="", capture_output=True, text=True, timeout=60, check=False
    )


def test_a_conversation_is_held_with_a_model_that_talks(fleet: Fleet) -> None:
    fleet.frontend()
    fleet.worker(*DRAWS, "--served-model-name", "a")
    fleet.wait_for_workers(1)
    done = talk(fleet.url)
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.startswith(f"kvmesh: no model that talks is served at {fleet.url}/v1; ")
    fleet.worker(*CHATS)
    fleet.wait_for_workers(2)
    done = talk(fleet.url)
    assert (done.returncode, done.stdout.split(";")[0]) == (0, "talking to chats")


def test_ctrl_c_ends_it_and_the_drawing(fleet: Fleet, tmp_path: Path) -> None:
    def under_way() -> bool:
        return requests_running(fleet) > 0

    fleet.frontend()
    fleet.worker(*DRAWS, "--sim-step-ms", "60000", "--media-default-size", "16x16")
    fleet.wait_for_workers(1)
    drawing = subprocess.Popen(
        command(fleet.url, "--image", "a red circle", "--size", "1024x1024"),
        cwd=tmp_path,
        env=os.environ | PATH,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    fleet.wait_until(under_way, "it is being drawn")
    drawing.send_signal(signal.SIGINT)
    assert drawing.communicate(timeout=60) == ("", "\n")
    assert drawing.returncode == 130
    fleet.wait_until(lambda: not under_way(), "nothing is drawn any more")
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".png"]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{", "no picture: "),
        (b"HTTP/1.1 200 OK\r\n\r\n{broken", "no picture: "),
        (b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps({"data": []}).encode(), "has no picture"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": [{"b64_json": "!"}]}', "has no picture"),
        (b'HTTP/1.1 200 OK\r\n\r\n{"data": [{"b64_json": null}]}', "has no picture"),
        (b"HTTP/1.1 200 OK\r\n\r\n[]", "has no picture"),
        (b"HTTP/1.1 500 Oops\r\ncontent-length: 4\r\n\r\noops", "HTTP Error 500"),
        (b"", "no picture: "),
    ],
)
def test_whatever_answers_is_survived(
    answer: bytes,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one() -> None:
            with listener.accept()[0] as connection:
                connection.recv(65_536)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65_536):  # closed with bytes unread, it would be reset
                    pass

        serving = threading.Thread(target=serve_one)
        serving.start()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        assert main(["chat", "--url", url, "--model", "m", "--image", "a red circle"]) == 1
        serving.join()
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert said in told.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--size", "64x64", "--seed", "1"), "--size and --seed go with --image"),
        (("--image", "x", "--system", "y"), "--system goes with a conversation"),
        (("--image", "x", "--out", "picture.gif"), "--out must end with .png"),
    ],
)
def test_options_that_do_not_go_together_are_told(
    arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["chat", *arguments])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
