"""Runs one of several frontend processes, which a parent starts (frontend/processes/parent.py):
`python -m frontend.one_of_several LINK LISTENER STANDING`, descriptors all three.
"""

import gc
import signal
import socket
import sys

import uvloop

from frontend.processes.messages import Begin, CannotStart, begin_from
from protocol.process.frames import framed
from protocol.process.one_line_logs import log_to_stderr
from protocol.process.start_error import EXIT_CANNOT_START, StartError


def main() -> int:
    """Runs a frontend until its parent tells it to leave; returns the exit code."""
    # The parent says when to leave: a terminal and a service manager signal each process of a group
    # too, and a second signal hurries.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    gc.disable()  # as in frontend/__main__.py
    from frontend.inflight.request_log import make_logging_lean  # noqa: PLC0415

    link, listener, standing = map(int, sys.argv[1:])
    connection = socket.socket(fileno=link)
    begin = begin_from(connection)
    log_to_stderr(begin.settings.log_level, as_json=begin.settings.log_json)
    make_logging_lean()
    last_words = connection.dup()
    try:
        uvloop.run(_serve(begin, connection, socket.socket(fileno=listener), standing))
    except StartError as error:
        last_words.sendall(framed(CannotStart(str(error))))
        return EXIT_CANNOT_START
    return 0


async def _serve(
    begin: Begin, connection: socket.socket, listener: socket.socket, standing: int
) -> None:
    from frontend.app import serve  # noqa: PLC0415
    from frontend.processes.link import Link  # noqa: PLC0415
    from frontend.processes.place import Place  # noqa: PLC0415
    from frontend.processes.standing import Standing  # noqa: PLC0415

    place = Place(
        number=begin.number,
        count=begin.count,
        listener=listener,
        standing=Standing(standing, begin.count),
        link=await Link.over(connection),
    )
    try:
        await serve(begin.settings, place)
    finally:
        await place.link.close()


if __name__ == "__main__":
    raise SystemExit(main())
