"""The user's own directory for sockets: whoever made it first is looked at."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import zmq

from protocol.process import own_directory as subject
from protocol.process.start_error import StartError
from protocol.transport import sockets


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(subject, "OWN_DIRECTORY", tmp_path / "own")
    monkeypatch.setattr(sockets, "OWN_DIRECTORY", tmp_path / "own")
    return tmp_path / "own"


def test_it_is_made_for_this_user_alone_and_used_again(place: Path) -> None:
    before = os.umask(0)
    try:
        assert subject.own_directory() == subject.own_directory() == place
    finally:
        os.umask(before)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "prepare",
    [
        lambda place: place.mkdir(mode=0o755),
        lambda place: place.write_text(""),
        lambda place: (place.with_name("theirs").mkdir(mode=0o700), place.symlink_to("theirs")),
    ],
    ids=["others may enter", "a file", "a link"],
)
def test_what_somebody_else_may_have_made_is_refused(
    place: Path, prepare: Callable[[Path], object]
) -> None:
    prepare(place)
    with pytest.raises(StartError, match=r"mode 0700|File exists"):
        subject.own_directory()


@pytest.mark.skipif(os.getuid() != 0, reason="gives a directory away")
def test_a_directory_of_another_user_is_refused_before_anything_is_dialled_or_bound(
    place: Path,
) -> None:
    place.mkdir(mode=0o700)
    os.chown(place, 65_534, 65_534)
    context: zmq.Context[sockets.Socket] = zmq.Context()
    for opened in (sockets.bound_router, sockets.connected_dealer, sockets.asking_dealer):
        with pytest.raises(StartError, match="mode 0700"):
            opened(context, f"ipc://{place}/mesh", None)
    context.term()


def test_a_place_that_cannot_be_made_is_an_error_with_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subject, "OWN_DIRECTORY", Path("/nowhere/own"))
    with pytest.raises(StartError, match=r"/nowhere/own.*No such file"):
        subject.own_directory()


def test_a_process_has_one_of_its_own_until_it_ends_and_not_until_its_child_does() -> None:
    program = """
import os, sys
from protocol.process.own_directory import process_directory
print(process_directory(), process_directory())
sys.stdout.flush()
if os.fork() == 0:
    sys.exit()
os.wait()
print(process_directory().stat().st_mode & 0o777 == 0o700)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    first, second, is_there = done.stdout.split()
    assert first == second
    assert is_there == "True"
    assert not Path(first).exists()


def test_a_deep_directory_for_temporary_files_leaves_room_for_a_sockets_name(
    tmp_path: Path,
) -> None:
    deep = tmp_path / ("x" * 60)
    deep.mkdir()
    program = "from protocol.process.own_directory import OWN_DIRECTORY; print(OWN_DIRECTORY)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"TMPDIR": str(deep)},
    )
    assert done.stdout.strip() == f"/tmp/kvmesh-{os.getuid()}"


def test_what_a_killed_process_left_is_removed_by_the_next_one_and_what_a_living_one_has_is_not(
    place: Path,
) -> None:
    program = """
import sys
from pathlib import Path
from protocol.process import own_directory
own_directory.OWN_DIRECTORY = Path(sys.argv[1])
print(own_directory.process_directory(), flush=True)
sys.stdin.read()
"""
    arguments = [sys.executable, "-c", program, str(place)]
    with subprocess.Popen(
        arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as one:
        assert one.stdout is not None
        first = Path(one.stdout.readline().strip())
        (first / "socket").touch()
        second = Path(
            subprocess.run(
                arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
            ).stdout.strip()
        )
        assert list(place.iterdir()) == [first] != [second]
        one.kill()
    third = subprocess.run(
        arguments, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert Path(third).parent == place
    assert list(place.iterdir()) == []
