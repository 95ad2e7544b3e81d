"""Says which prompts an engine computes: SGLang accepts some that it never does."""

import sys
from typing import Any, NamedTuple

from protocol.errors import ContextOverflow
from workers.engine import EngineFacts


class PromptLimits(NamedTuple):
    """PromptLimits say what an engine's prompts may be: ids below `vocab_size`, and `tokens_max` of
    them.
    """

    vocab_size: int
    tokens_max: int

    def check_length(self, prompt_tokens: int) -> None:
        """Checks the length of a prompt.

        Raises:
            ContextOverflow: it is too long.
        """
        if prompt_tokens > self.tokens_max:
            raise ContextOverflow(
                f"The longest prompt that is computed here has {self.tokens_max} tokens, for the "
                "model's context or the KV cache. However, your prompt has "
                f"{prompt_tokens} tokens. Please reduce its length."
            )


def limits_of(manager: Any, facts: EngineFacts) -> PromptLimits:
    """Returns the limits of a started engine.

    SGLang accepts a prompt that is six tokens shorter than the KV cache, begins with it where a
    further page is free behind it, and answers with a token where two more are. What is longer than
    the second waits for ever, and whoever comes later behind it. Source: managers/tp_worker.py,
    managers/schedule_policy.py (PrefillAdder) and mem_cache/allocator/base.py
    (max_new_tokens_for_memory) of SGLang 0.5.23.

    Args:
        manager: SGLang's TokenizerManager.
    """
    return PromptLimits(facts.card.vocab_size, _tokens_max(manager, facts))


def _tokens_max(manager: Any, facts: EngineFacts) -> int:
    accepted, capacity = manager.max_req_input_len, facts.capacity
    if not facts.generates or accepted is None or manager.config_value("allow_auto_truncate"):
        return sys.maxsize
    if int(manager.config_value("dcp_size") or 1) > 1:  # several ranks share each page
        return int(accepted) - 1
    page = capacity.page_size_tokens
    return min(int(accepted) - 1, (capacity.kv_tokens - page - 2) // page * page)
