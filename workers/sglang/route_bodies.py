"""The bodies of an engine's routes are SGLang's own structs."""

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from sglang.srt.managers import io_struct

from protocol.errors import InvalidRequest


class Nothing(Struct):
    """A Nothing is a body without fields."""


class UpdateFromDisk(io_struct.UpdateWeightFromDiskReqInput, tag=False, kw_only=True):
    """An UpdateFromDisk is SGLang's, with a field of ours."""

    unchecked: bool = False
    """Says to load the checkpoint though its tensors cannot be compared."""


STRUCTS: Final[Mapping[str, type[Struct]]] = {
    "pause_generation": io_struct.PauseGenerationReqInput,
    "continue_generation": io_struct.ContinueGenerationReqInput,
    "flush_cache": Nothing,
    "update_weights_from_disk": UpdateFromDisk,
    "update_weights_from_tensor": io_struct.UpdateWeightsFromTensorReqInput,
    "update_weights_from_distributed": io_struct.UpdateWeightsFromDistributedReqInput,
    "update_weights_from_ipc": io_struct.UpdateWeightsFromIPCReqInput,
    "init_weights_update_group": io_struct.InitWeightsUpdateGroupReqInput,
    "destroy_weights_update_group": io_struct.DestroyWeightsUpdateGroupReqInput,
    "begin_weight_update": io_struct.BeginWeightUpdateReqInput,
    "end_weight_update": io_struct.EndWeightUpdateReqInput,
    "update_weight_version": io_struct.UpdateWeightVersionReqInput,
    "release_memory_occupation": io_struct.ReleaseMemoryOccupationReqInput,
    "resume_memory_occupation": io_struct.ResumeMemoryOccupationReqInput,
    "start_profile": io_struct.ProfileReq,
    "stop_profile": Nothing,
    "get_model_info": Nothing,
    "get_server_info": Nothing,
}
"""SGLang's struct for each route, by the route's name."""


_LOCAL: Final = "ipc://"


def check_ipc(body: Any, *, on_cpu: bool) -> None:
    """Refuses weights of a checkpoint-engine where none can be.

    Raises:
        InvalidRequest: the message says why.
    """
    if on_cpu:
        raise InvalidRequest(
            "update_weights_from_ipc needs a GPU: a checkpoint-engine hands weights over in the "
            "memory of one. On a CPU there are update_weights_from_tensor and _distributed."
        )
    if find_spec("checkpoint_engine") is None:
        raise InvalidRequest(
            "update_weights_from_ipc needs the package checkpoint-engine beside SGLang: "
            "pip install checkpoint-engine."
        )
    # what comes there is unpickled
    if any(not handle.startswith(_LOCAL) for handle in body.zmq_handles.values()):
        raise InvalidRequest(
            f"The addresses of a checkpoint-engine begin with {_LOCAL}.", param="zmq_handles"
        )


def check_profile(body: Any) -> None:
    """Refuses a profile that would end a scheduler when it is written.

    Raises:
        InvalidRequest: it would.
    """
    for name in ("profile_id", "profile_prefix"):
        if "/" in (getattr(body, name) or "") or "\0" in (getattr(body, name) or ""):
            raise InvalidRequest(f"{name} is a part of a file's name.", param=name)
    if body.output_dir is not None and not Path(body.output_dir).expanduser().is_absolute():
        raise InvalidRequest("output_dir must be an absolute path.", param="output_dir")
    if body.num_steps is not None and body.num_steps < 1:
        raise InvalidRequest("num_steps must be at least 1.", param="num_steps")
    if body.profile_by_stage and body.num_steps is None:
        raise InvalidRequest("profile_by_stage needs num_steps.", param="num_steps")
