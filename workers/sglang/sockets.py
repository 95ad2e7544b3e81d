"""The processes of one SGLang engine meet in a directory that no other user reaches, as far as one
node goes.

SGLang unpickles what arrives on its inner sockets. Without attention data parallelism they are
files in the common directory for temporary files; with it they are TCP ports, also on one node.
torch's store listens on every interface of the host, whatever it is told. What is named in place of
SGLang's here is named in the worker, in the data-parallel controller and in the schedulers, each
for itself.
"""

import os
import tempfile
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial, update_wrapper
from pathlib import Path
from typing import Any, Final

from workers.kv_events_config import ipc_of_rank

_IPC: Final = "ipc://"

LOOPBACK_INTERFACE: Final = "lo"


def meet_in(directory: Path) -> None:
    """Has this process, the worker's, give its engine addresses in `directory`."""
    from sglang.srt import server_args  # noqa: PLC0415

    make = server_args.PortArgs.init_new
    server_args.PortArgs.init_new = staticmethod(
        update_wrapper(partial(_ports, make, directory), make)
    )


def meet_as_controller(server_args: Any, port_args: Any) -> None:
    """Has the data-parallel controller, in whose process this runs, make the addresses of its
    schedulers in the engine's directory.
    """
    directory = directory_of(port_args)
    if directory is None:
        return
    from sglang.srt.managers import data_parallel_controller  # noqa: PLC0415

    meet_in(directory)
    if stays_on_one_node(server_args):
        data_parallel_controller.get_zmq_socket_on_host = partial(_bound_in, directory)
        data_parallel_controller.DataParallelController._broadcast_worker_ports = _told_to_nobody


def meet_as_scheduler(server_args: Any, port_args: Any) -> None:
    """Has the scheduler in whose process this runs meet the others in files: its world's store is a
    file, and gloo listens on loopback, if all ranks are on this node.
    """
    from sglang.srt.disaggregation.kv_events import ZmqEventPublisher  # noqa: PLC0415

    ZmqEventPublisher.offset_endpoint_port = staticmethod(
        partial(_of_rank, ZmqEventPublisher.offset_endpoint_port)
    )
    directory = directory_of(port_args)
    if directory is None or not stays_on_one_node(server_args):
        return
    # One port a world, and with it one file; SGLang names shared memory after the port, where there
    # is one.
    world = str(port_args.nccl_port)
    os.environ.setdefault(
        "SGLANG_DISTRIBUTED_INIT_METHOD_OVERRIDE", f"file://{directory}/world-{world}"
    )
    os.environ.setdefault("MASTER_ADDR", "127.0.0.1")
    os.environ.setdefault("MASTER_PORT", world)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK_INTERFACE)


def stays_on_one_node(server_args: Any) -> bool:
    """Tells whether all ranks are on this node, and none from others can join while it runs
    (SGLang's elastic expert parallelism).
    """
    return server_args.nnodes == 1 and server_args.elastic_ep_backend in (None, "none")


def directory_of(port_args: Any) -> Path | None:
    """Returns the directory where an engine's processes meet; None where they span nodes."""
    name = port_args.rpc_ipc_name
    return Path(name.removeprefix(_IPC)).parent if name.startswith(_IPC) else None


def _ports(
    make: Callable[..., Any],
    directory: Path,
    server_args: Any,
    dp_rank: int | None = None,
    worker_ports: Any = None,
) -> Any:
    """Returns SGLang's PortArgs: of attention data parallelism on one node in `directory`, and else
    SGLang's own with its files there.
    """
    from sglang.srt import server_args as module  # noqa: PLC0415
    from sglang.srt.utils.network import get_free_port_below_ephemeral  # noqa: PLC0415

    # SGLang has these nodes make sure that the first one's ports are free here, which they never
    # bind
    if server_args.node_rank:
        module.wait_port_available = _as_it_is
    if not stays_on_one_node(server_args) or not module.attn_dp_enabled_of(
        module.resolving_view(server_args)
    ):
        with _temporary_files_in(directory):
            return make(server_args, dp_rank, worker_ports)
    return module.PortArgs(
        tokenizer_ipc_name=f"{_IPC}{directory}/tokenizer",
        scheduler_input_ipc_name=f"{_IPC}{directory}/controller"
        if dp_rank is None
        else worker_ports[dp_rank],
        detokenizer_ipc_name=f"{_IPC}{directory}/detokenizer",
        nccl_port=server_args.nccl_port or get_free_port_below_ephemeral(),
        rpc_ipc_name=f"{_IPC}{directory}/rpc",
        metrics_ipc_name=f"{_IPC}{directory}/metrics",
        tokenizer_worker_ipc_name=None,
        decoupled_spec_ipc_config=None,
        instance_id=uuid.uuid4().hex[:12],
    )


def _as_it_is(*_port: Any, **_named: Any) -> bool:
    return True


@contextmanager
def _temporary_files_in(directory: Path) -> Iterator[None]:
    before, tempfile.tempdir = tempfile.tempdir, str(directory)
    try:
        yield
    finally:
        tempfile.tempdir = before


def _bound_in(directory: Path, context: Any, socket_type: Any, **_host: Any) -> tuple[str, Any]:
    """Returns a rank's address and its socket, in place of its port."""
    from sglang.srt.utils.network import get_zmq_socket  # noqa: PLC0415

    address = f"{_IPC}{directory}/scheduler-{uuid.uuid4().hex[:12]}"
    return address, get_zmq_socket(context, socket_type, address, bind=True)


def _told_to_nobody(_controller: Any, _server_args: Any, worker_ports: Any = None) -> Any:
    """Returns what a controller does for the other nodes, where there are none: SGLang binds a port
    for them.
    """
    return worker_ports


def _of_rank(offset: Callable[..., Any], endpoint: str | None, dp_rank: int) -> Any:
    return (
        ipc_of_rank(endpoint, dp_rank)
        if endpoint and endpoint.startswith(_IPC)
        else offset(endpoint, dp_rank)
    )
