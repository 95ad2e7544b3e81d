"""SGLang's own processes begin here, so that they outlive the signals that ask the worker to stop.

Ctrl-C at a terminal goes to every process of its group, and `systemctl stop` to every process of
the unit. The worker has requests to finish then, for which it needs its schedulers; it ends them
itself, and the kernel does if the worker is gone (SGLang's kill_itself_when_parent_died).

The functions are named in place of SGLang's, so a spawned process imports this file to find them;
one that was forked (workers.sglang.cpu.spares) has it.
"""

import gc
import multiprocessing
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

from workers.process.exit import leave_process
from workers.process.failure_note import leave_failure_note
from workers.sglang.cpu import is_cpu_host
from workers.sglang.cpu.spares import dismiss_spares, fork_spares, ranks_here
from workers.sglang.pooling import pool_as, pooling_of
from workers.sglang.sockets import meet_as_controller, meet_as_scheduler

CONTROLLER_NAP_MS: Final = 1_000
"""A data-parallel controller without requests sleeps for this many milliseconds before it feeds its
watchdog, which waits for minutes.
"""


def run_scheduler(*arguments: Any, **named: Any) -> None:
    """Runs SGLang's scheduler in its own process.

    When it returns, SGLang has let go of GPU memory and peers, so that nothing is left to wait for.
    """
    from sglang.srt.managers import scheduler  # noqa: PLC0415  # the importing process may not need it

    from workers.sglang.grammars.scheduler import change_grammars  # noqa: PLC0415
    from workers.sglang.guarded_changes import guard_changes  # noqa: PLC0415
    from workers.sglang.ids_alone import tell_ids_alone  # noqa: PLC0415

    begin()
    with _failure_noted(scheduler):
        server_args = named["server_args"] if "server_args" in named else arguments[0]
        port_args = named["port_args"] if "port_args" in named else arguments[1]
        meet_as_scheduler(server_args, port_args)
        tell_ids_alone(port_args)
        pooling = pooling_of(server_args.model_path, server_args.revision)
        if pooling is not None:
            pool_as(pooling)
        change_grammars()
        guard_changes()
        scheduler.run_scheduler_process(*arguments, **named)
    leave_process(0)


def run_controller(server_args: Any, port_args: Any, *arguments: Any, **named: Any) -> None:
    """Runs SGLang's data-parallel controller in its own process.

    It sleeps until there is a request, where SGLang's asks without end and burns a core.
    """
    from sglang.srt.managers import data_parallel_controller  # noqa: PLC0415

    begin()
    if is_cpu_host(()) and not named.get("prelaunched_schedulers"):
        fork_spares(ranks_here(server_args))
    meet_as_controller(server_args, port_args)
    data_parallel_controller.DataParallelController.event_loop = _hand_on
    with _failure_noted(data_parallel_controller):
        data_parallel_controller.run_data_parallel_controller_process(
            server_args, port_args, *arguments, **named
        )


@contextmanager
def _failure_noted(module: Any) -> Generator[None]:
    """Notes, while entered, what a process fails of.

    SGLang's functions catch it themselves, ask for its traceback, log that and return.
    """
    plain = module.get_exception_traceback

    def noted() -> str:
        error = sys.exception()
        if error is not None:
            leave_failure_note(error)
        return plain()

    module.get_exception_traceback = noted
    try:
        yield
    except Exception as error:
        leave_failure_note(error)
        raise


def _hand_on(controller: Any) -> None:
    from sglang.srt.managers.io_struct import sock_recv  # noqa: PLC0415

    dismiss_spares()
    while True:
        controller.soft_watchdog.feed()
        if controller.recv_from_tokenizer.poll(CONTROLLER_NAP_MS):
            controller._request_dispatcher(sock_recv(controller.recv_from_tokenizer))


def begin() -> None:
    """Begins to collect garbage now that all is imported, which will be no garbage, and to outlive
    signals.
    """
    gc.freeze()
    gc.enable()
    outlive_signals()


def outlive_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _carry_on)


def _carry_on(_number: int, _frame: Any) -> None:
    """Does nothing on a signal. Not SIG_IGN, which programs started by this process would inherit,
    and compilers' helpers are ended by SIGTERM.
    """


# parent_process() is not known yet while the target is read
if multiprocessing.current_process().name != "MainProcess":
    # What a process imports is no garbage, and to look through it takes a quarter of the time.
    gc.disable()
    outlive_signals()
