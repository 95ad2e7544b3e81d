"""Where a prefill engine is met by the engines that take its caches over, and how long each waits.

Imports no SGLang.
"""

import argparse
import os
import socket
from collections.abc import Set as AbstractSet
from typing import Final

from protocol.process.start_error import StartError

_PORT_FLAG: Final = "--disaggregation-bootstrap-port"

_WAITS: Final = {
    "SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT": "30",
    "SGLANG_DISAGGREGATION_WAITING_TIMEOUT": "30",
    "SGLANG_DISAGGREGATION_DEFERRED_DECODE_KV_RELEASE_TIMEOUT": "10",
}
"""Seconds. SGLang's own are 300 for a leg that waits for the other, and 30 for the pages of an
aborted one. Frontends abort both legs when one is lost; these are for when the frontend is lost
too.
"""


def set_bootstrap(namespace: argparse.Namespace, told: AbstractSet[str]) -> None:
    """Choose a free port for a prefill engine where the user named none, and shorten the waits.

    SGLang binds the port in a thread that only logs its failure, so a taken one is found here.

    Args:
        told: the flags that were given.
    Raises:
        StartError: the port is taken.
    """
    if namespace.disaggregation_mode not in ("prefill", "decode"):
        return
    for name, seconds in _WAITS.items():
        os.environ.setdefault(name, seconds)
    if namespace.disaggregation_mode == "decode":
        return
    asked = namespace.disaggregation_bootstrap_port if _PORT_FLAG in told else 0
    family = socket.AF_INET6 if ":" in namespace.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((namespace.host, asked))
        except OSError as error:
            raise StartError(
                f"{_PORT_FLAG} {asked} cannot be used on {namespace.host}: {error.strerror}"
            ) from None
        namespace.disaggregation_bootstrap_port = probe.getsockname()[1]
