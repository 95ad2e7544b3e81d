"""SGLang's schedulers tell the worker itself the ids of tokens; nothing of SGLang's makes text of
them.

Frontends make text, and so does the worker where it parses (`workers.sglang.texts`). SGLang's
detokenizer would decode each token twice for nobody, and each step would be pickled, read and
pickled again on its way. It is how SGLang runs without a tokenizer; schedulers have theirs here,
for grammars and stop tokens.

Import it in a scheduler's process: it imports SGLang.
"""

from typing import Any, cast

from sglang.srt.managers.schedule_batch import Req


def tell_ids_alone(port_args: Any) -> None:
    """Has the scheduler in whose process this runs send what requests put out to the worker.

    Args:
        port_args: SGLang's PortArgs, of this process.
    """
    port_args.detokenizer_ipc_name = port_args.tokenizer_ipc_name
    cast("Any", Req).init_incremental_detokenize = _nothing_to_decode


def _nothing_to_decode(_request: Any) -> tuple[tuple[int, ...], int]:
    """Returns the ids that a detokenizer needs, and how many of them it has read."""
    return (), 0
