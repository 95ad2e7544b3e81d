"""SGLang's DiffGenerator, which says what it failed of, and tells the ranks about orders.

Imports SGLang's generators, which takes seconds, on a CPU host after the stand-ins of
`workers.sglang.cpu`.
"""

import logging
import re
from typing import Any, Final

from sglang.multimodal_gen.runtime import launch_server
from sglang.multimodal_gen.runtime.entrypoints import diffusion_generator

from workers.process.failure_note import one_line
from workers.sglang.diffusion.messages import Told
from workers.sglang.diffusion.rank import run_rank
from workers.sglang.diffusion.steps import EXTRA

_PREFIX: Final = re.compile(r"^Error executing (grouped )?request \S+: ")
_FAILED: Final = "Generation failed: %s"

launch_server.bootstrap_scheduler_process = run_rank


class TellingGenerator(diffusion_generator.DiffGenerator):
    """A TellingGenerator has the ranks be told what each request belongs to.

    Attributes:
        told: goes with what is generated next.
    """

    told: Told | None = None

    def _send_to_scheduler_and_wait_for_response(self, batch: Any) -> Any:
        for request in batch:
            request.extra[EXTRA] = self.told
        return super()._send_to_scheduler_and_wait_for_response(batch)


class FailureHeard(logging.Handler):
    """A FailureHeard has the cause of the last failure, which DiffGenerator logs and returns None.

    Attributes:
        cause: in one line; empty where there was none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.cause = ""
        diffusion_generator.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        if record.msg == _FAILED and isinstance(record.args, tuple):
            words = one_line(Exception(str(record.args[0])))
            self.cause = _PREFIX.sub("", words)
