"""SGLang's own `bench_serving` against a system that is up, without a network: random token ids,
this host's tokenizer.
"""

import json
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from bench.gpu.sglang_program import BENCHMARK, sglang_program
from bench.kit.running import Running
from bench.kit.workloads import MODEL_NAME
from starter.process import REPO

BACKENDS = ("sglang-oai-chat", "sglang-oai")
SECONDS_MAX = 180.0
KEPT = (
    "completed",
    "duration",
    "output_throughput",
    "median_ttft_ms",
    "p99_ttft_ms",
    "median_itl_ms",
    "median_e2e_latency_ms",
)


def _command(
    running: Running,
    backend: str,
    model_path: Path,
    prompts: int,
    lengths: tuple[int, int],
    out: Path,
) -> list[str]:
    """`random` would fetch texts from the network; `random-ids` makes up ids and decodes them with
    the tokenizer.
    """
    command = [
        *sglang_program(BENCHMARK),
        "--backend",
        backend,
        "--base-url",
        f"http://127.0.0.1:{running.port}",
    ]
    command += [
        "--model",
        str(model_path),
        "--served-model-name",
        MODEL_NAME,
        "--tokenizer",
        str(model_path),
    ]
    command += [
        "--dataset-name",
        "random-ids",
        "--random-input-len",
        str(lengths[0]),
        "--random-output-len",
        str(lengths[1]),
    ]
    command += [
        "--random-range-ratio",
        "1.0",
        "--num-prompts",
        str(prompts),
        "--request-rate",
        "inf",
    ]
    return [*command, "--disable-tqdm", "--output-details", "--output-file", str(out)]


def bench_serving(
    running: Running,
    backend: str,
    *,
    model_path: Path,
    prompts: int,
    lengths: tuple[int, int],
    scratch: Path,
) -> dict[str, Any]:
    """Its figures, and how many requests failed with which words.

    Raises:
        RuntimeError: it did not come to an end, with its last lines.
    """
    out = scratch / f"bench_serving-{running.name}-{backend}.jsonl"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    command = _command(running, backend, model_path, prompts, lengths, out)
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS_MAX, cwd=REPO, check=False
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(
            f"bench_serving took more than {SECONDS_MAX:g} s on {running.name}"
        ) from None
    if done.returncode or not out.exists():
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise RuntimeError(f"bench_serving failed on {running.name}, {backend}:\n{tail}")
    result: dict[str, Any] = json.loads(out.read_text().splitlines()[-1])
    errors = Counter(
        error.strip().splitlines()[-1][:160] for error in result["errors"] if error.strip()
    )
    return {"failed": prompts - int(result["completed"]), "errors": dict(errors)} | {
        key: result.get(key) for key in KEPT
    }
