"""`python -m bench.gpu.media --out FILE`: what the demo model that sees answers in every topology,
and what encoding apart is worth under a load of texts and pictures.
"""

import argparse
import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from bench.gpu.fleet import ANY_SIZE, ENGINE, NIXL, SIM, GpuFleet, Plan, start
from bench.gpu.media.handed import OPTIONS, VIEWS, handed, was_read
from bench.gpu.media.loads import PICTURES, TEXTS, apart, reading, seeing, together, write_bodies
from bench.gpu.media.model import make_seeing_model
from bench.gpu.media.planes import planes
from bench.gpu.three_way import gpus_here
from bench.kit.workloads import LOCAL
from starter.pages import http_metric
from workers.demo_model import DEMO_TOOL_CALL_PARSER, demo_model_dir

SCRATCH: Final = LOCAL / "gpu-media"

VISION: Final = "--mm-attention-backend triton_attn"
"""The GPU bundle has no FlashAttention."""

TOPOLOGIES: Final = {
    "ordinary": ("w1",),
    "encode worker": ("e1", "m1"),
    "processor": ("x1", "m1"),
    "two legs": ("p1", "d1"),
    "encode worker and two legs": ("e1", "q1", "n1"),
}
COMPARED: Final = {"whole": ("w1",), "apart": ("e1", "m1"), "two whole": ("w1", "w2")}
TWO_GPUS: Final = {"w1": 0, "w2": 1, "m1": 0, "e1": 1}


def golden(fleet: GpuFleet) -> dict[str, Any]:
    """How many golden answers each topology says, and how many as an ordinary worker does."""
    from tests.demo_vision.golden import chat_messages, golden_entries  # noqa: PLC0415

    entries = [entry for entry in golden_entries() if not entry.get("tools")]
    said: dict[str, list[Any]] = {}
    for view in fleet.views:
        said[view] = []
        for entry in entries:
            body = {
                "messages": chat_messages(entry),
                "temperature": 0,
                "max_tokens": entry["max_tokens"],
                "return_token_ids": True,
            }
            answer = fleet.chat(view, body)
            said[view].append(
                answer["choices"][0]["token_ids"] if isinstance(answer, dict) else answer
            )
    ordinary = said["ordinary"]
    return {
        view: {
            "of": len(entries),
            "golden": sum(
                isinstance(ids, list) and ids[: len(entry["token_ids"])] == entry["token_ids"]
                for ids, entry in zip(answers, entries, strict=True)
            ),
            "as_ordinary": sum(one == other for one, other in zip(answers, ordinary, strict=True)),
            "errors": sorted({each for each in answers if isinstance(each, str)})[:3],
        }
        for view, answers in said.items()
    }


def mixed(fleet: GpuFleet, rounds: int, duration_s: float, report: dict[str, Any]) -> None:
    """The same loads on each view in turns: texts alone, pictures alone, both."""
    views = list(fleet.views)
    for index in range(-1, rounds):
        pictures = write_bodies(SCRATCH / "pictures.jsonl", seeing(100 + index, 400))
        texts = write_bodies(SCRATCH / "texts.jsonl", reading(100 + index, 2_000))
        for view in views[index % len(views) :] + views[: index % len(views)]:
            port = fleet.addresses[view].http_port
            if index < 0:
                together(port, pictures, texts, 10)
                continue
            measured = {
                "texts alone": apart(port, texts, TEXTS, duration_s),
                "pictures alone": apart(port, pictures, PICTURES, duration_s),
                "both": together(port, pictures, texts, duration_s),
            }
            measured["encoding"] = encoding(fleet, view)
            report.setdefault(view, []).append(measured)
            print(view, json.dumps(measured), flush=True)


ENCODED: Final = {
    "batches_s": "kvmesh_frontend_encode_seconds_sum",
    "requests": "kvmesh_frontend_encode_seconds_count",
    "bytes": "kvmesh_frontend_encoded_bytes_total",
}


def encoding(fleet: GpuFleet, view: str) -> dict[str, float]:
    """What a frontend has counted so far of pictures that others encoded."""
    url = fleet.addresses[view].url
    return {key: http_metric(url, name) for key, name in ENCODED.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the result, JSON")
    parser.add_argument("--what", default="golden,mixed", help="the parts, in this order")
    parser.add_argument("--gpus", type=int, choices=(1, 2), default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=12, help="of each load")
    parser.add_argument("--start-seconds-max", type=float, default=300)
    parser.add_argument("--sim", action="store_true", help="simulated engines, without a GPU")
    args = parser.parse_args()
    report: dict[str, Any] = {"gpus": gpus_here()}
    began = time.monotonic()
    for part in args.what.split(","):
        with ExitStack() as stack:
            try:
                _do(part, args, stack, report)
            except Exception as error:  # noqa: BLE001 - the other part is worth having
                report[part] = {**report.get(part, {}), "failed": str(error)[-3000:]}
        report["seconds"] = round(time.monotonic() - began, 1)
        args.out.write_text(json.dumps(report, indent=1) + "\n")
        print(part, report["seconds"], json.dumps(report[part]), flush=True)


def _do(part: str, args: argparse.Namespace, stack: ExitStack, report: dict[str, Any]) -> None:
    scratch = SCRATCH / part
    scratch.mkdir(parents=True, exist_ok=True)
    if part == "planes":
        report[part] = planes(scratch)
        return
    if part in {"golden", "read-golden"}:
        report[part] = _golden(args, stack, scratch, read=part != "golden")
        return
    if part == "handed":
        engine = SIM if args.sim else f"{ENGINE} {VISION}"
        plan = Plan(make_seeing_model(SCRATCH / "model"), engine, VIEWS, options=OPTIONS)
        fleet = start(stack, scratch, args.start_seconds_max, plan)
        handed(fleet, scratch, args.rounds, args.seconds, report.setdefault(part, {}))
        return
    views = {view: names for view, names in COMPARED.items() if args.gpus == 2 or "w2" not in names}
    plan = Plan(
        make_seeing_model(SCRATCH / "model"),
        SIM if args.sim else f"{ENGINE} {VISION}",
        views,
        placed=TWO_GPUS if args.gpus == 2 else {},
    )
    fleet = start(stack, SCRATCH / part, args.start_seconds_max, plan)
    mixed(fleet, args.rounds, args.seconds, report.setdefault(part, {}))


def _golden(
    args: argparse.Namespace, stack: ExitStack, scratch: Path, *, read: bool
) -> dict[str, Any]:
    """The golden answers of each topology, or of the pairs that hand encodings over differently."""
    engine = ENGINE.replace("--load-format dummy ", "").partition(" --tool-call-parser")[0]
    engine = SIM if args.sim else f"{engine} {VISION} --tool-call-parser {DEMO_TOOL_CALL_PARSER}"
    legs, model = "" if args.sim else NIXL, demo_model_dir("vision")
    if not read:
        plan = Plan(model, engine, TOPOLOGIES, legs)
        return golden(start(stack, scratch, args.start_seconds_max, plan))
    views = {"ordinary": ("w1",), **VIEWS}
    plan = Plan(model, engine, views, options=OPTIONS, program=ANY_SIZE)
    fleet = start(stack, scratch, args.start_seconds_max, plan)
    told = golden(fleet)
    told["memory"]["read"] = was_read(fleet, "m2")
    return told


if __name__ == "__main__":
    main()
