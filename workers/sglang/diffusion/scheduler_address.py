"""SGLang's scheduler unpickles what arrives at its address, which is a socket that no other user
reaches here, in place of a port.
"""

from pathlib import Path
from typing import Any

from workers.sglang.diffusion.messages import SCHEDULER_SOCKET


def meet_in_files(directory: Path) -> None:
    """Has this process, a rank or the one that asks it, take a file of the directory as the address
    of SGLang's scheduler.
    """
    from sglang.multimodal_gen.runtime.server_args import ServerArgs  # noqa: PLC0415

    address = f"ipc://{directory / SCHEDULER_SOCKET}"

    def of_replica(_server_args: Any, _replica: int) -> str:
        return address

    ServerArgs.scheduler_endpoint_for = of_replica
