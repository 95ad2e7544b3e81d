"""The field `nvext` says what a client asks of the router, and tells it what came of that.

The names are the reference product's, as are the headers.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final, Literal

from msgspec import Meta, Struct

from frontend.inflight.choice import Choice
from frontend.routing.route import Weights
from protocol.errors import InvalidRequest
from protocol.limits import DP_RANKS_MAX, NAME_CHARS_MAX

Label = Annotated[str, Meta(min_length=1, max_length=NAME_CHARS_MAX)]
ThinkingTokens = Annotated[int, Meta(ge=0, le=2**31 - 1)]
Weight = Annotated[float, Meta(ge=0, le=1e6)]
Share = Annotated[float, Meta(ge=0, le=1)]

ExtraField = Literal["worker_id", "timing", "cached_tokens"]


class RouterOverride(Struct, frozen=True, forbid_unknown_fields=True):
    """A RouterOverride sets the router's weights for one request instead of the frontend's (kv
    mode).
    """

    prefill_weight: Weight | None = None
    idle_share: Share | None = None
    waiting_weight: Weight | None = None
    request_weight: Weight | None = None
    host_weight: Share | None = None
    disk_weight: Share | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None

    def over(self, weights: Weights) -> Weights:
        """Returns `weights` with those that are set here in place of its own."""
        asked = {
            name.removesuffix("_weight").removesuffix("_share"): getattr(self, name)
            for name in self.__struct_fields__
        }
        return replace(
            weights, **{name: value for name, value in asked.items() if value is not None}
        )


class NvExt(Struct, frozen=True, forbid_unknown_fields=True):
    """An NvExt holds what one request wishes of its route, and what it wants to be told of that."""

    extra_fields: Annotated[list[ExtraField], Meta(max_length=8)] | None = None
    """Names what the answer's `nvext` is to tell."""
    backend_instance_id: Label | None = None
    """Names the one worker that may take the request."""
    dp_rank: Annotated[int, Meta(ge=0, lt=DP_RANKS_MAX)] | None = None
    decode_worker_id: Label | None = None
    """The worker that generates the answer, the same as `backend_instance_id`."""
    prefill_worker_id: Label | None = None
    """The worker that computes the prompt, where two share a request."""
    prefill_dp_rank: Annotated[int, Meta(ge=0, lt=DP_RANKS_MAX)] | None = None
    session_id: Label | None = None
    """Keeps the request on the rank of its session's last one while that has room."""
    cache_salt: Label | None = None
    router: RouterOverride | None = None
    max_thinking_tokens: ThinkingTokens | None = None
    """Bounds the thinking of a chat, as the chat's own field of that name does."""

    @property
    def worker_id(self) -> str | None:
        """Returns the worker that is to generate the answer, whichever field names it."""
        return self.decode_worker_id or self.backend_instance_id


NO_WISHES: Final = NvExt()


def wishes(body: NvExt | None, headers: Mapping[str, str]) -> NvExt:
    """Returns what body and headers ask of the router together; a header goes before its field.

    Raises:
        InvalidRequest: a header's value is not one of its field.
    """
    asked = body or NO_WISHES
    if not headers:
        return asked
    fields: dict[str, Any] = {name: getattr(asked, name) for name in NvExt.__struct_fields__}
    for name, value in headers.items():
        if name in ("dp_rank", "prefill_dp_rank"):
            if not (
                value.isascii()
                and value.isdigit()
                and len(value) <= 4
                and int(value) < DP_RANKS_MAX
            ):
                raise InvalidRequest(f"{value[:20]!r} is no data-parallel rank.", param="x-dp-rank")
            fields[name] = int(value)
        elif not 0 < len(value) <= NAME_CHARS_MAX:
            raise InvalidRequest(
                f"A header for {name} has 1 to {NAME_CHARS_MAX} characters.", param=name
            )
        else:
            fields[name] = value
    return NvExt(**fields)


def told(asked: list[ExtraField] | None, choice: Choice) -> dict[str, Any] | None:
    """Returns the answer's `nvext` about one choice; None when nothing was asked."""
    if not asked:
        return None
    stream = choice.stream
    answer: dict[str, Any] = {}
    if "worker_id" in asked:
        prefill, decode = stream.prefill_placement.rank, stream.placement.rank
        answer["worker_id"] = {
            "prefill_worker_id": prefill.worker_id,
            "prefill_dp_rank": prefill.dp_rank,
            "decode_worker_id": decode.worker_id,
            "decode_dp_rank": decode.dp_rank,
        }
    if "timing" in asked:
        answer["timing"] = {"queue_time_ms": round(stream.queue_s * 1000, 3)}
    if "cached_tokens" in asked:
        answer["cached_tokens"] = {
            "predicted": stream.prefill_placement.cached_tokens,
            "actual": choice.cached_tokens,
        }
    return answer
