"""A request's output is read where SGLang 0.5.23 would have queued it."""

import asyncio
import copyreg
import logging
from typing import Any, Final, Literal

from msgspec.structs import replace
from sglang.srt.managers.io_struct import EmbeddingReqInput, GenerateReqInput
from sglang.srt.managers.tokenizer_manager import ReqState

from protocol.generation import Extras, Finished
from protocol.media import Modality
from protocol.replies import Delta
from protocol.tokens import pack_tokens
from workers.engine import BROKEN
from workers.sglang.translation import cached_below, outcome, scores

log = logging.getLogger(__name__)

_OURS: Final = frozenset({"output", "digests", "encoded", "grows"})
"""SGLang's requests have no attributes of these names."""


class Output:
    """An Output is what one request has put out; it takes the place of `ReqState.out_list`, whose
    `append` is all that SGLang calls.
    """

    __slots__ = ("_moved", "_prompt_scored", "ended", "meta_info", "prompt_tokens", "sent", "state")

    def __init__(self, moved: "list[Output]", prompt_tokens: int) -> None:
        self._moved = moved
        self.prompt_tokens = prompt_tokens
        self.state: ReqState | None = None
        self.sent = 0
        self._prompt_scored = False
        self.meta_info: dict[str, Any] = {}
        self.ended = asyncio.get_running_loop().create_future()

    def __bool__(self) -> bool:
        """Returns False, since nothing is kept here: SGLang's crash dump then takes a request's
        output from its state.
        """
        return False

    def append(self, out: dict[str, Any]) -> None:
        self.meta_info = out["meta_info"]
        self._moved.append(self)

    @property
    def dispatched(self) -> bool:
        """Tells whether the scheduler has been told of the request, so that only it can end it."""
        return self.state is not None and self.state.dispatched

    def take(self) -> Delta:
        """Returns a Delta with what the request put out since the last take."""
        state = self.state
        assert state is not None
        start, new = self.sent, state.output_ids[self.sent :]
        self.sent += len(new)
        end = None
        if state.finished:
            end = outcome(
                self.meta_info, prompt_tokens=self.prompt_tokens, completion_tokens=self.sent
            )
        # Nearly always one token: to_bytes takes a tenth of the time that an array does.
        packed = new[0].to_bytes(4, "little") if len(new) == 1 else pack_tokens(new)
        extras = self._scores(start) if state.obj.return_logprob else None
        if not start and end is None and (cached := self.meta_info.get("cached_tokens")):
            extras = replace(
                extras or Extras(),
                cached_tokens=int(cached),
                cached_below=cached_below(self.meta_info),
            )
        return Delta(state.obj.rid, start, packed, end, extras)

    def take_or_fail(self) -> Delta:
        """Returns what `take` does, or a failure where that raises: of this request, since those
        beside it have nothing to do with it.
        """
        start = self.sent
        try:
            return self.take()
        except Exception:
            state = self.state
            assert state is not None
            log.exception("request %s ends, since its output cannot be read", state.obj.rid)
            self.sent = start
            return Delta(state.obj.rid, start, b"", BROKEN)

    def finished_now(self, reason: Literal["stop"]) -> Finished:
        """Returns the end of the request as it stands, where not the engine decides that it
        ends.
        """
        return Finished(
            reason,
            self.prompt_tokens,
            self.sent,
            int(self.meta_info.get("cached_tokens") or 0),
            cached_below=cached_below(self.meta_info),
        )

    def _scores(self, start: int) -> Extras | None:
        state = self.state
        assert state is not None
        top = state.obj.top_logprobs_num
        of_prompt = None
        if not self._prompt_scored and state.input_token_logprobs_val:
            self._prompt_scored = True
            of_prompt = scores(
                state.input_token_logprobs_val,
                state.input_top_logprobs_val,
                state.input_top_logprobs_idx,
                top,
            )
        end = self.sent
        values = state.output_token_logprobs_val[start:end]
        of_output = scores(
            values,
            state.output_top_logprobs_val[start:end],
            state.output_top_logprobs_idx[start:end],
            top,
        )
        return Extras(logprobs=of_output if values else None, prompt_logprobs=of_prompt)


class SteppedInput(GenerateReqInput):
    """A SteppedInput is a request whose output is delivered by step.

    `output` and what follows are no dataclass fields, so that no log prints them.
    """

    output: Output
    digests: dict[Modality, list[int]]
    """Holds what the engine is to take for the hashes of the prompt's media, of each modality in
    their order.
    """
    encoded: bool = False
    """Says that another worker encoded the media."""
    grows: bool = False
    """Says that nobody knows how many tokens some of the media take before they are processed."""

    def __reduce_ex__(self, _protocol: Any) -> tuple[Any, ...]:
        """Pickles the request as SGLang's own class, for its dumps of requests: those who read them
        need not have ours.
        """
        state = {name: value for name, value in vars(self).items() if name not in _OURS}
        return copyreg.__newobj__, (GenerateReqInput,), state


class TextInput(EmbeddingReqInput):
    """A TextInput is a text for its vector, with what SGLang's scheduler takes of one and its own
    class does not: no dataclass fields either.
    """

    routed_dp_rank: int | None
    token_type_ids: list[int] | None
