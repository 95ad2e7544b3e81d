"""What an operator may ask of a worker's engine, in one table."""

from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

WhenBusy = Literal["wait", "move", "abort", "refuse"]
"""A WhenBusy says what becomes of requests that run when the engine must be idle: they are finished
first; they go on on other workers; they end as aborted; or what was asked is refused.
"""


ANSWER_S: Final = 600.0
"""An engine may be at one thing for this many seconds if the body says nothing, as the members of a
group of NCCL wait for each other at most.
"""

LOAD_S_MAX: Final = 3_600.0
"""A checkpoint may take this many seconds to be loaded if the body says nothing: the largest, over
a slow network.
"""


@dataclass(frozen=True, kw_only=True)
class Route:
    """A Route is one thing that an operator may ask, POST /engine/NAME.

    Attributes:
        state: why the worker takes no requests meanwhile, in a word; empty where it goes on taking
        them.
        when_busy: what becomes of running requests if the body says nothing; None where they go on.
        looks: it changes nothing, and waits for nothing.
        loads: weights are loaded by it.
        empties: the cache is empty before it and after it, unless the body says otherwise.
        limit_s: the engine may be at it for this many seconds if the body says nothing.
        does: what it does, for people.
        answer: what is answered, for people.
    """

    name: str
    does: str
    answer: str
    state: str = ""
    when_busy: WhenBusy | None = None
    looks: bool = False
    loads: bool = False
    empties: bool = False
    limit_s: float = ANSWER_S


_DONE: Final = "`success`, `message`"
_OK: Final = "`status`"

_loading: Final = partial(Route, state="updating", when_busy="wait", loads=True, empties=True)
"""Makes a route by which weights are loaded."""

ROUTES: Final = (
    Route(
        name="pause_generation",
        does=(
            "The worker takes no requests until `continue_generation`. With `mode` `retract` or "
            "`in_place` what runs stays in the engine, and goes on then; with `abort` it ends."
        ),
        answer=_OK,
        state="paused",
        when_busy="move",
    ),
    Route(
        name="continue_generation",
        does="Ends a pause.",
        answer=_OK,
    ),
    Route(
        name="flush_cache",
        does="Empties the KV cache, and what frontends know of it. Also at `/clear_kv_blocks`.",
        answer=_DONE,
        state="flushing",
        when_busy="wait",
        empties=True,
    ),
    _loading(
        name="update_weights_from_disk",
        does=(
            "Loads the weights of another checkpoint of the same model, whose tensors are compared "
            "first with those of the checkpoint that the engine started with (`unchecked` leaves "
            "that out)."
        ),
        answer=f"{_DONE}, `num_paused_requests`",
        limit_s=LOAD_S_MAX,
    ),
    _loading(
        name="update_weights_from_tensor",
        does="Loads weights out of SGLang's serialized tensors, base64, one text a TP rank.",
        answer=_DONE,
    ),
    _loading(
        name="update_weights_from_distributed",
        does="Receives weights that rank 0 of a group broadcasts.",
        answer=_DONE,
    ),
    _loading(
        name="update_weights_from_ipc",
        does="Receives weights from a checkpoint-engine of this host.",
        answer=_DONE,
    ),
    Route(
        name="init_weights_update_group",
        does="Joins the group over which weights come; returns when all of its members have.",
        answer=_DONE,
        state="updating",
        when_busy="wait",
    ),
    Route(
        name="destroy_weights_update_group",
        does="Leaves that group.",
        answer=_DONE,
        state="updating",
        when_busy="wait",
    ),
    Route(
        name="begin_weight_update",
        does=(
            "Begins an update of several calls; the worker takes no requests until "
            "`end_weight_update`. A call outside of it is one of its own."
        ),
        answer=_DONE,
        state="updating",
        when_busy="wait",
    ),
    Route(
        name="end_weight_update",
        does="Ends it.",
        answer=_DONE,
        state="updating",
    ),
    Route(
        name="update_weight_version",
        does=(
            "Gives the weights another name; with `abort_all_requests` what runs ends, which is "
            "not the default here."
        ),
        answer=f"{_DONE}, `new_version`",
    ),
    Route(
        name="release_memory_occupation",
        does=(
            "Frees the memory of `kv_cache`, `weights` or `cuda_graph` (all, without `tags`) where "
            "the engine has --enable-memory-saver; the worker takes no requests until it is "
            "resumed."
        ),
        answer=_OK,
        state="released",
        when_busy="wait",
        empties=True,
    ),
    Route(
        name="resume_memory_occupation",
        does=(
            "Takes the memory again. Weights that were really released, without "
            "--enable-weights-cpu-backup, must be loaded before the worker takes requests."
        ),
        answer=_OK,
        state="released",
    ),
    Route(
        name="start_profile",
        does="Begins a profile, which each rank writes to `output_dir`.",
        answer=f"{_OK}, `message`",
        looks=True,
    ),
    Route(
        name="stop_profile",
        does="Ends it and returns when it is written.",
        answer=f"{_OK}, `message`",
        looks=True,
    ),
    Route(
        name="get_model_info",
        does="Tells which weights are served.",
        answer="`model_path`, `weight_version` and others",
        looks=True,
    ),
    Route(
        name="get_server_info",
        does="Tells the engine's arguments and the state of each rank, without keys.",
        answer="SGLang's",
        looks=True,
    ),
)
"""The table of all that may be asked, in the order of the documentation."""

ROUTE_OF: Final = {route.name: route for route in ROUTES}

ALIASES: Final = {"update_weights_from_distributor": "update_weights_from_distributed"}
"""Further names under which a route is asked."""
