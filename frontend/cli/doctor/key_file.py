"""The file of the mesh's key: whether there is one where it is needed, what is in it, and who may
read it.
"""

import os
import stat
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from frontend.cli.doctor.finding import Finding, fail, ok, warn
from frontend.cli.doctor.subject import Subject
from protocol.process.start_error import StartError
from protocol.transport.curve import MeshKey

_ABOUT: Final = "mesh key"

TOKEN_VARIABLE: Final = "KVMESH_SYSTEM_TOKEN_FILE"  # noqa: S105 - a name
"""Names the variable that names the file of a worker's token."""

_MAKE: Final = (
    "Make one file for all, (umask 077; openssl rand -hex 32 > mesh.key), and name it with "
    "--mesh-key-file."
)

_DIGITS_MIN: Final = 6
"""Is the least number of different hex digits among the 64 of a random key: with fewer in one of
10^20.
"""


def check(subject: Subject) -> Iterator[Finding]:
    """Yields a finding on the key, or on its absence, and on a worker's token if there is one."""
    yield from _mesh_key(subject)
    token = subject.environ.get(TOKEN_VARIABLE)
    if token:
        yield token_file(Path(token).expanduser())


def token_file(path: Path) -> Finding:
    """Returns a finding on a file with the token of a worker's system port."""
    about = "system token"
    mend = "(umask 077; openssl rand -hex 32 > FILE) makes one; chmod 600 keeps others from it."
    try:
        mode, words = stat.S_IMODE(path.stat().st_mode), path.read_text().split()
    except (OSError, ValueError):
        return fail(about, f"{path}: no text can be read there", mend)
    if mode & 0o077:
        return fail(about, f"{path}, mode {mode:04o}: others than its owner may read it", mend)
    if len(words) != 1:
        return fail(about, f"{path}, mode {mode:04o}: it does not hold one word", mend)
    return ok(about, f"{path}, mode {mode:04o}: for its owner alone")


def _mesh_key(subject: Subject) -> Iterator[Finding]:
    path = subject.settings.mesh_key_file
    if path is None:
        yield without([subject.settings.mesh_bind, *subject.dialled])
        return
    try:
        MeshKey.from_file(path)
    except StartError as error:
        yield fail(_ABOUT, str(error), _MAKE)
        return
    yield from of_file(Path(path).expanduser())


def without(addresses: list[str]) -> Finding:
    """Returns a finding on a mesh of these addresses that has no key."""
    far = next((each for each in addresses if _reach(each) == "hosts"), None)
    if far is not None:
        return fail(_ABOUT, f"none, and {far} can be reached from other hosts", _MAKE)
    near = next((each for each in addresses if _reach(each) == "host"), None)
    if near is not None:
        return warn(
            _ABOUT,
            f"none: any user of this host may join the mesh at {near}",
            f"Use an ipc:// address, which is one user's, or a key. {_MAKE}",
        )
    return ok(_ABOUT, "none is needed: the mesh does not leave this user")


def of_file(path: Path) -> Iterator[Finding]:
    """Yields what is wrong with a file that holds 64 hex digits; at least one finding."""
    found = path.stat()
    about = f"{path}, mode {stat.S_IMODE(found.st_mode):04o}"
    if found.st_mode & 0o077:
        yield fail(
            _ABOUT,
            f"{about}: others than its owner may read or change it, and join the mesh",
            f"chmod 600 {path}, and make a new key if somebody may have read it.",
        )
    elif found.st_uid not in (os.getuid(), 0):
        yield warn(
            _ABOUT, f"{about}: another user owns it", f"Make it this user's own: chown it, {path}."
        )
    elif len(set(path.read_text().strip().lower())) < _DIGITS_MIN:
        yield fail(_ABOUT, f"{about}: its digits are not random", _MAKE)
    else:
        yield ok(_ABOUT, f"{about}: 64 hex digits for its owner alone")


def _reach(address: str) -> str:
    """Returns from where an address can be reached: "user", "host" or "hosts"."""
    scheme, _, rest = address.partition("://")
    if scheme != "tcp":
        return "user"
    host = rest.rpartition(":")[0].strip("[]")
    try:
        return "host" if host == "localhost" or ip_address(host).is_loopback else "hosts"
    except ValueError:
        return "hosts"
