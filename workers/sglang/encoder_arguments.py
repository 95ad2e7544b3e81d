"""A worker that encodes pictures gives SGLang an engine's arguments, without what it has not."""

import argparse
from collections.abc import Sequence
from typing import Any, Final

from protocol.process.start_error import StartError
from workers.process.failure_note import one_line
from workers.sglang.arguments import parse_server_args
from workers.sglang.vision_files import has_grids, sees

_ONE_DEVICE: Final = ("tp_size", "pp_size", "dp_size", "nnodes")


def parse_encoder_args(argv: Sequence[str], *, cpu: bool) -> Any:
    """Returns SGLang's ServerArgs of an encoder.

    Raises:
        StartError: an argument is wrong, or the model sees nothing, or in a way that cannot be
        encoded apart.
    """
    return parse_server_args(argv, cpu=cpu, kv_events=False, adapt=_for_encoder)


def parse_processor_args(argv: Sequence[str], *, cpu: bool) -> Any:
    """Returns SGLang's ServerArgs for what only processes pictures.

    Raises:
        StartError: as `parse_encoder_args`.
    """
    return parse_server_args(argv, cpu=cpu, kv_events=False, adapt=_require_grids)


def _for_encoder(namespace: argparse.Namespace) -> None:
    for name in _ONE_DEVICE:
        if int(getattr(namespace, name) or 1) > 1:
            raise StartError(
                f"--{name.replace('_', '-')} is not for an encoder, which runs on one device: "
                "start several workers"
            )
    _require_grids(namespace)
    namespace.encoder_only, namespace.encoder_transfer_backend = True, "zmq_to_scheduler"


def _require_grids(namespace: argparse.Namespace) -> None:
    from transformers import PretrainedConfig  # noqa: PLC0415  # after the stand-ins

    model = str(namespace.model_path)
    try:
        config, _ = PretrainedConfig.get_config_dict(model, revision=namespace.revision)
    except Exception as error:
        raise StartError(f"{model} has no configuration: {one_line(error)}") from error
    if not sees(config):
        raise StartError(f"{model} sees no pictures: there is nothing to encode")
    if not has_grids(config):
        architecture = ", ".join(config.get("architectures") or ("unknown",))
        raise StartError(
            f"{model} cannot have its pictures encoded apart: kvmesh knows how for Qwen-VL models, "
            f"and this is a {architecture}"
        )
