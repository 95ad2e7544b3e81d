"""Log probabilities: what is asked of the engine."""

from frontend.api.schemas import ChatCompletionRequest, CompletionRequest
from protocol.requests import LogprobsWanted


def logprobs_wanted(request: ChatCompletionRequest | CompletionRequest) -> LogprobsWanted | None:
    """What to ask the engine for; None if nothing."""
    if isinstance(request, CompletionRequest):
        return None if request.logprobs is None else LogprobsWanted(request.logprobs, of_prompt=bool(request.echo))
    return LogprobsWanted(request.top_logprobs or 0) if request.logprobs else None
