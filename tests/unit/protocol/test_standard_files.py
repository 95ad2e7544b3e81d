"""Descriptors 0 to 2, in processes of their own."""

import subprocess
import sys

import pytest

TELL = """
import os, socket, sys
from protocol.process.standard_files import open_standard_files
open_standard_files()
with open(sys.argv[1], "w") as told:
    are_open = [os.path.exists(f"/proc/self/fd/{number}") for number in range(3)]
    print(*are_open, socket.socket().fileno() > 2, file=told)
"""


@pytest.mark.parametrize("closed", ["", "<&-", ">&-", "<&- >&- 2>&-"])
def test_those_that_were_closed_are_open_and_no_socket_gets_their_numbers(
    closed: str, tmp_path
) -> None:
    told = tmp_path / "told"
    shell = f'exec "$0" -c "$1" "$2" {closed}'
    subprocess.run(["/bin/sh", "-c", shell, sys.executable, TELL, told], check=True, timeout=60)
    assert told.read_text().split() == ["True"] * 4
