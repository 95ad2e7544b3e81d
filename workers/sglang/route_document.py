"""The page docs/engine_routes.md is printed by `python -m workers.sglang.route_document`."""
# ruff: noqa: E501  # rows of tables

from typing import Any

import msgspec
from msgspec import NODEFAULT

from workers.operating.bodies import OWN_FIELDS, body_of
from workers.operating.routes import ALIASES, ROUTES, Route
from workers.sglang.cpu import activate_if_cpu_host

_HEAD = """# Engine routes

What an operator does to a worker's engine while it runs: `POST /engine/NAME` on the worker's system
port (`--system-port`, `DYN_SYSTEM_PORT`), with a JSON object of the fields below; `{}` if there are
none to give. `/engine/control/NAME` is the same. Each route is done on every rank.

```
curl localhost:9090/engine/update_weights_from_disk -H 'content-type: application/json' \\
  -d '{"model_path": "/checkpoints/step-400", "weight_version": "step-400"}'
```

This page is made from the tables that the worker answers by
(`python -m workers.sglang.route_document`).

## What happens to requests

While a route needs the engine for itself the worker **takes no requests**: it leaves routing with a
state of its own (`paused`, `updating`, `flushing`, `released`), which is not unhealthy, and comes
back by itself. The state and its reason are on the worker's `/health` (200, as a restart would not
help) and `/ready` (503), and on each frontend's `/health`. Nobody sends it a canary meanwhile.
Other workers serve on; where there is no other, requests wait at the frontend: for a pause, an
update and a flush until their own deadline, for released memory ten seconds.

**What runs** when such a route is asked is said by `when_busy`:

| `when_busy` | |
|---|---|
| `wait` | it is finished first; if that takes longer than `wait_s` (120) seconds, 409 is answered |
| `move` | it goes on on another worker, from its last token, or waits for this one |
| `abort` | it ends with `finish_reason` `abort`, and what has no part to give, as a text's vector, with the error `request_aborted`; `abort_all_requests` and a pause's `mode` `abort` say the same |
| `refuse` | 409 at once |

One thing is done after the other; up to 8 wait. An answer is awaited for an hour; what takes longer
goes on, and the worker takes no requests until it is done.

**What never ends**: SGLang cannot be called back from what it is at, as from waiting for tensors
whose sender is gone. Every route that changes something has `limit_s`, the seconds that the engine
may take for it (600, and 3600 for `update_weights_from_disk`). After that 500 is answered, and the
worker ends with exit code 4, so that it is started anew with the checkpoint of its arguments; what
ran on it goes on elsewhere. An update that `begin_weight_update` began and of which no call comes
for its `limit_s` is ended, and the weights before it are loaded again.

**Errors** have OpenAI's form: 400 for a body that is wrong (an unknown field names the known ones),
403 and 401 for who may not ask, 404 for a route that this engine has not, 409 `conflict` for what
does not go with how the engine is now, 500 where the engine failed, 503 while the worker loads.

**A failed update** leaves the weights as they were: a checkpoint's tensors are compared, by name
and shape, before anything is loaded, and whatever fails after that is taken back on every rank by
loading the checkpoint before. Where that cannot be had again (it came as tensors, or is gone), the
worker says `unhealthy` with the reason and gets no work until `update_weights_from_disk` succeeds.

**Caches**: an update, a flush and a release empty the KV cache of every rank, and each frontend
forgets what it knew of it, so that nothing is predicted that is not there. `flush_cache: false`
leaves the cache as it is, computed by other weights.

**A rolling update** of a fleet is one worker after the other with `when_busy: "move"`. A request
that moves from old weights to new ones goes on with both.

"""

_ACCESS = """
## Who may ask

The system port listens on loopback unless `--system-host` says otherwise, and refuses web pages (by
their Host and Origin). Beyond loopback, `POST` needs a token: `--system-token-file`
(`KVMESH_SYSTEM_TOKEN_FILE`) names a file with it, and requests bring
`authorization: Bearer TOKEN`. Without such a file they are refused there with 403; with one, a
token is asked for on loopback too. `/live`, `/ready`, `/health` and `/metrics` need none.

## What SGLang cannot

- `update_weights_from_tensor`, `_distributed`, `_ipc` and the groups: not with `--dp-size` above 1
  (attention ranks, `--enable-dp-attention`, are no such replicas).
- Memory is really freed with `--enable-memory-saver` on a GPU alone. Without
  `--enable-weights-cpu-backup` the weights are gone when they are resumed, and the worker takes no
  requests until some are loaded.
- `update_weights_from_ipc` needs a GPU and the package checkpoint-engine, whose addresses begin
  with `ipc://`; elsewhere it is refused before anything is done. There is no cache of CUDA's on a
  CPU, so that `torch_empty_cache` is named under `ignored` in the answer of `continue_generation`.
- Who broadcasts weights over NCCL sets `NCCL_CUMEM_ENABLE=0`, as SGLang does for its ranks unless
  they have symmetric memory: where members differ in it, the group fails ("invalid argument").
- What a CPU cannot do was tried on two H200 (`python -m bench.gpu.engine_routes`,
  [result](../bench/results/engine_routes_gpu.json)): memory is freed and taken again, and weights
  come out of another process's memory, and over NCCL from the other GPU; the answers are those of
  the new weights, with the memory saver on too. Two ranks of tensor parallelism were tried on a
  CPU, with all of it that a CPU can do: what fails on one of them is taken back on both.
- The simulated engine has those routes that need no tensors; what its checkpoints are is said in
  `workers/sim/operating.py`.
"""


def document() -> str:
    """Returns the page, as Markdown."""
    from workers.sglang.route_bodies import STRUCTS  # noqa: PLC0415  # imports SGLang

    rows = "\n".join(_row(route, STRUCTS[route.name]) for route in ROUTES)
    aliases = "; ".join(f"`{alias}` is `{name}`" for alias, name in ALIASES.items())
    table = (
        "## The routes\n\n| route | fields | what it does | requests meanwhile | answer |\n"
        f"|---|---|---|---|---|\n{rows}\n\nAlso: {aliases}. "
        "LoRA adapters have routes of their own: [endpoints](endpoints.md#lora).\n"
    )
    return _HEAD + table + _ACCESS


def _row(route: Route, struct: type[msgspec.Struct]) -> str:
    fields = ", ".join(
        _field(field)
        for field in msgspec.structs.fields(body_of(route, struct))
        if field.name not in OWN_FIELDS
    )
    cells = (f"`{route.name}`", fields or "none", route.does, _meanwhile(route), route.answer)
    return f"| {' | '.join(cells)} |"


def _meanwhile(route: Route) -> str:
    if not route.state:
        return "go on"
    busy = "" if route.when_busy is None else f"; what runs: `{route.when_busy}`"
    return f"none (`{route.state}`){busy}"


def _field(field: Any) -> str:
    if field.default is NODEFAULT and field.default_factory is NODEFAULT:
        return f"**`{field.name}`**"
    if field.default in (None, NODEFAULT):
        return f"`{field.name}`"
    return f"`{field.name}` ({str(field.default).lower()})"


if __name__ == "__main__":
    activate_if_cpu_host()
    print(document(), end="")  # noqa: T201
