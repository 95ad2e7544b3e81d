"""Run as a program: a trainer that has the weights of a checkpoint and gives them to a worker.

    python -m bench.gpu.engine_routes.trainer build DIRECTORY SEED LIKE [LAYERS HIDDEN]
    python -m bench.gpu.engine_routes.trainer tensor CHECKPOINT SYSTEM_PORT DEVICE
    python -m bench.gpu.engine_routes.trainer half CHECKPOINT SYSTEM_PORT DEVICE
    python -m bench.gpu.engine_routes.trainer ipc CHECKPOINT SYSTEM_PORT DEVICE
    python -m bench.gpu.engine_routes.trainer group CHECKPOINT SYSTEM_PORT DEVICE BACKEND

`build` writes a random checkpoint with the tokenizer of the model LIKE; the others print what the
worker answered, by route; `half` gives the last of several ranks nothing that can be loaded. A
program, since nobody else here imports torch.
"""

import base64
import json
import os
import pickle  # noqa: TID251  # SGLang's form of tensors
import shutil
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.gpu.engine_routes.trainer_calls import ANSWER_S_MAX, CPU_RANKS, ask
from starter.ports import free_port
from workers.sglang.cpu import activate_if_cpu_host

activate_if_cpu_host()

import torch  # noqa: E402

GROUP = "trained"

os.environ.setdefault("NCCL_CUMEM_ENABLE", "0")
"""As SGLang sets it for its ranks: where members of a group differ in it, NCCL reaches no memory of
another GPU ("invalid argument").
"""


def build(directory: Path, seed: int, like: Path, layers: int, hidden: int) -> None:
    """Writes a model of random weights, wide enough that its answers differ."""
    from transformers import Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415

    torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
    told: dict[str, Any] = json.loads((like / "config.json").read_text())
    config = Qwen3Config(
        vocab_size=told["vocab_size"],
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=hidden // 8,
        max_position_embeddings=4096,
        initializer_range=0.3 if hidden < 512 else 0.1,
        tie_word_embeddings=False,
        eos_token_id=told["eos_token_id"],
    )
    model: Any = Qwen3ForCausalLM(config)
    model.to(torch.bfloat16).save_pretrained(directory)
    for file in like.iterdir():
        if file.suffix in {".json", ".jinja"} and not (directory / file.name).exists():
            shutil.copy(file, directory / file.name)


def weights_of(checkpoint: Path, device: str) -> list[tuple[str, torch.Tensor]]:
    """The tensors of a checkpoint, by name."""
    load_file: Any = import_module("safetensors.torch").load_file
    return [
        (name, tensor.to(device))
        for file in sorted(checkpoint.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    ]


def ranks_on(device: str) -> int:
    """The ranks of tensor parallelism of a worker: several where they cost nothing."""
    return CPU_RANKS if device == "cpu" else 1


def by_tensors(checkpoint: Path, port: int, device: str, *, broken: bool) -> dict[str, Any]:
    """Hands tensors over: on a GPU by their memory, which both processes reach; else whole."""
    weights = weights_of(checkpoint, device)
    if device == "cpu":
        serialized = pickle.dumps(weights)
    else:
        utils: Any = import_module("sglang.srt.utils")
        import_module("sglang.srt.utils.patch_torch").monkey_patch_torch_reductions()
        serialized = utils.MultiprocessingSerializer.serialize(weights)
    texts = [base64.b64encode(serialized).decode()] * ranks_on(device)
    if broken:
        texts[-1] = base64.b64encode(b"broken").decode()
    return {
        "update_weights_from_tensor": ask(
            port,
            "update_weights_from_tensor",
            serialized_named_tensors=texts,
            weight_version="tensors",
        )
    }


def by_checkpoint_engine(checkpoint: Path, port: int) -> dict[str, Any]:
    """Has the parameter server of a checkpoint-engine hand them over, on the worker's GPU."""
    master = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    os.environ |= {"RANK": "0", "WORLD_SIZE": "1", **master}
    server: Any = import_module("checkpoint_engine.ps").ParameterServer(auto_pg=True)
    files = [str(file) for file in sorted(checkpoint.glob("*.safetensors"))]
    told: dict[str, Any] = {}

    def request(sockets: list[tuple[str, str]]) -> None:
        route = "update_weights_from_ipc"
        told[route] = ask(port, route, zmq_handles=dict(sockets), weight_version="ipc")

    server.register_checkpoint("trained", files=files)
    server.init_process_group()
    server.gather_metas("trained")
    server.update("trained", request)
    return told


def by_group(checkpoint: Path, port: int, device: str, backend: str) -> dict[str, Any]:
    """Broadcasts them to the worker's ranks."""
    utils: Any = import_module("sglang.srt.utils")
    told: dict[str, Any] = {}
    weights, master = weights_of(checkpoint, device), free_port()
    members = 1 + ranks_on(device)
    if device != "cpu":
        torch.cuda.set_device(device)
    with ThreadPoolExecutor(1) as aside:

        def beside(route: str, **fields: Any) -> Any:
            return aside.submit(ask, port, route, **fields)

        joining = beside(
            "init_weights_update_group",
            master_address="127.0.0.1",
            master_port=master,
            rank_offset=1,
            world_size=members,
            group_name=GROUP,
            backend=backend,
        )
        group = utils.init_custom_process_group(
            backend=backend,
            init_method=f"tcp://127.0.0.1:{master}",
            world_size=members,
            rank=0,
            group_name=GROUP,
        )
        told["init_weights_update_group"] = joining.result()
        updating = beside(
            "update_weights_from_distributor",
            names=[name for name, _ in weights],
            dtypes=[str(tensor.dtype).removeprefix("torch.") for _, tensor in weights],
            shapes=[list(tensor.shape) for _, tensor in weights],
            group_name=GROUP,
            weight_version="group",
        )
        for _, tensor in weights:
            torch.distributed.broadcast(tensor, src=0, group=group)
        told["update_weights_from_distributed"] = updating.result()
        told["destroy_weights_update_group"] = ask(
            port, "destroy_weights_update_group", group_name=GROUP
        )
    return told


def main(what: str, checkpoint: Path, *rest: str) -> None:
    """Does one of them."""
    if what == "build":
        layers, hidden = (int(number) for number in rest[2:]) if rest[2:] else (12, 1024)
        build(checkpoint, int(rest[0]), Path(rest[1]), layers, hidden)
        return
    port, device = int(rest[0]), rest[1]
    match what:
        case "tensor" | "half":
            told = by_tensors(checkpoint, port, device, broken=what == "half")
        case "ipc":
            told = by_checkpoint_engine(checkpoint, port)
        case _:
            told = by_group(checkpoint, port, device, rest[2])
    print(json.dumps(told), flush=True)


if __name__ == "__main__":
    # a worker that does not come to a group must not keep this process for ever
    threading.Timer(2 * ANSWER_S_MAX, lambda: os._exit(5)).start()
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
    sys.stdout.flush()
    os._exit(0)  # whatever threads of a group still wait
