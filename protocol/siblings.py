"""Frontends of one host behind one HTTP port are found from the address of the first.

Pure.
"""

from typing import Final

from protocol.limits import PORT_MAX

PROCESSES_MAX: Final = 64
"""Bounds the frontend processes of one host: a process is good for a core, and every worker has a
connection to each.
"""

SIBLINGS_MAX: Final = PROCESSES_MAX - 1
"""Bounds the siblings that the first one tells of."""


def sibling_address(address: str, number: int) -> str:
    """Returns the mesh address of the sibling of this number; the first frontend has number 0 and
    the address itself.

    Of `tcp://HOST:PORT` it is the same host and as many ports further, of `ipc://PATH` a path
    beside it. So it is right on both sides, whatever name of the host a worker dials.

    Raises:
        ValueError: no sibling can have an address, in words.
    """
    if not number:
        return address
    scheme, _, rest = address.partition("://")
    if scheme == "ipc":
        return f"{address}.{number}"
    host, _, port = rest.rpartition(":")
    if scheme != "tcp" or not port.isdecimal() or not int(port):
        raise ValueError(f"{address} says no port that others could be counted from")
    if int(port) + number > PORT_MAX:
        raise ValueError(f"{number} ports further than {address} there is none")
    return f"tcp://{host}:{int(port) + number}"
