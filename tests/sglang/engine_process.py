"""Run as a program: one SglangEngine, driven over a socket.

`python engine_process.py ADDRESS [SGLang arguments]`.

In: a list of commands, all carried out in one turn of the event loop. Out: ["facts", …] once, then
["step", deltas] for each call of `deliver`, ["loads", …], ["state", what SGLang keeps], ["idle",
whether its schedulers are], ["death", reason] when the engine says that it died, and ["stopped",
pids of children that are left].
"""

import asyncio
import signal
import sys

import msgspec
import psutil
import uvloop
import zmq
import zmq.asyncio

from protocol.generation import Generate
from protocol.process.start_error import StartError
from protocol.replies import Delta
from protocol.requests import Abort
from workers.engine import EngineFacts
from workers.kinds.text import TEXT
from workers.sglang.engine import SglangEngine


class Loads(msgspec.Struct, tag="loads"):
    pass


class State(msgspec.Struct, tag="state"):
    pass


class Idle(msgspec.Struct, tag="idle"):
    pass


class Stop(msgspec.Struct, tag="stop"):
    kill: bool = False


IDLE_S_MAX = 30.0
"""What still runs is a step, or what a test has just aborted."""

COMMANDS = msgspec.msgpack.Decoder(list[Generate | Abort | Loads | State | Idle | Stop])


def state_of(engine: SglangEngine) -> dict[str, object]:
    manager = engine._manager
    return {
        "rids": list(manager.rid_to_state),
        "in_flight": list(engine._requests._in_flight),
        "deferred": sorted(engine._deferred.numbers),
        "sigterm_is_ours": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
        "watchdog_runs": manager._subprocess_watchdog._thread is not None,
        "children": {
            child.pid: child.name() for child in psutil.Process().children(recursive=True)
        },
    }


async def drive(address: str, engine: SglangEngine) -> None:  # noqa: C901  # a command each
    socket = zmq.asyncio.Context().socket(zmq.PAIR)
    socket.connect(address)
    outbox: asyncio.Queue[bytes] = asyncio.Queue()

    def put(kind: str, content: object) -> None:
        outbox.put_nowait(msgspec.msgpack.encode([kind, content], enc_hook=str))  # paths

    async def send() -> None:
        while True:
            await socket.send(await outbox.get())

    sender = asyncio.create_task(send())
    facts = await engine.start(
        lambda deltas: put("step", list[Delta](deltas)), lambda reason: put("death", reason)
    )
    assert isinstance(facts, EngineFacts)
    put("facts", msgspec.structs.replace(facts, images=None, metrics=None, routes=None))
    while True:
        for command in COMMANDS.decode(await socket.recv()):
            match command:
                case Generate():
                    engine.submit(command)
                case Abort():
                    engine.abort(command.request_id)
                case Loads():
                    put("loads", engine.loads())
                case State():
                    put("state", state_of(engine))
                case Idle():
                    flushed = await engine._manager.flush_cache(timeout_s=IDLE_S_MAX)
                    put("idle", flushed.success)
                case Stop():
                    manager = engine._manager
                    await (engine.kill() if command.kill else engine.stop())
                    asked = manager.gracefully_exit
                    left = [child.pid for child in psutil.Process().children(recursive=True)]
                    sender.cancel()
                    await socket.send(msgspec.msgpack.encode(["stopped", [left, asked]]))
                    return


if __name__ == "__main__":
    try:
        # first, since its processes are forks of this one, which has no thread yet
        made = SglangEngine.from_argv(sys.argv[2:], first_work=TEXT.first_work)
        uvloop.run(drive(sys.argv[1], made))
    except StartError as error:
        sys.stderr.write(f"StartError: {error}\n")
        sys.exit(3)
