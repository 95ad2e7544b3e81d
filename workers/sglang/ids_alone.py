"""SGLang's schedulers tell the worker itself the ids of tokens; nothing of SGLang's makes text of
them.

Frontends make text, and so does the worker where it parses (`workers.sglang.texts`). SGLang's
detokenizer would decode each token twice for nobody, and each step would be pickled, read and
pickled again on its way. It is how SGLang runs without a tokenizer; schedulers have theirs here,
for grammars and stop tokens.

Import it in a scheduler's process: it imports SGLang.
"""

from collections.abc import Callable
from functools import partialmethod
from typing import Any, Final, cast

from sglang.srt.managers.schedule_batch import Req
from sglang.srt.managers.scheduler_components import output_streamer
from sglang.srt.observability.req_time_stats import SchedulerReqTimeStats

_UNTIMED: Final = SchedulerReqTimeStats()


def tell_ids_alone(port_args: Any) -> None:
    """Has the scheduler in whose process this runs send what requests put out to the worker, and
    their times with their ends alone.

    Args:
        port_args: SGLang's PortArgs, of this process.
    """
    port_args.detokenizer_ipc_name = port_args.tokenizer_ipc_name
    cast("Any", Req).init_incremental_detokenize = _nothing_to_decode
    collected: Any = cast("Any", output_streamer)._GenerationStreamAccumulator
    collected.to_payload = partialmethod(_timed_at_ends, collected.to_payload)


def _nothing_to_decode(_request: Any) -> tuple[tuple[int, ...], int]:
    """Returns the ids that a detokenizer needs, and how many of them it has read."""
    return (), 0


def _timed_at_ends(collected: Any, to_payload: Callable[..., Any], **named: Any) -> Any:
    """Returns the message of a step, with the times of those requests that end in it: of the others
    they are not read, and to send and read them takes 2 µs each.
    """
    collected.time_stats = [
        times if reason is not None else _UNTIMED
        for times, reason in zip(collected.time_stats, collected.finished_reasons, strict=True)
    ]
    return to_payload(collected, **named)
