"""SGLang's TokenizerManager is made without an engine, for its tokenizer and processors alone.

Import it after `workers.sglang.cpu.activate_if_cpu_host`: it imports SGLang.
"""

from typing import Any

from sglang.srt.entrypoints.engine import init_tokenizer_manager
from sglang.srt.managers.tokenizer_manager import TokenizerManager
from sglang.srt.runtime_context import publish


class _LoneManager(TokenizerManager):
    """A _LoneManager has the model's configuration, tokenizer, templates and processors, and no
    sockets, since nobody is at their other ends.
    """

    def __init__(self, server_args: Any, _port_args: Any) -> None:
        self.server_args = server_args
        self.init_model_config()
        self.init_tokenizer_and_processor()


def lone_manager(server_args: Any) -> tuple[Any, Any]:
    """Returns a TokenizerManager and its TemplateManager; what makes and sends requests is not
    there.
    """
    publish(server_args, role="tokenizer")
    return init_tokenizer_manager(server_args, None, TokenizerManagerClass=_LoneManager)
