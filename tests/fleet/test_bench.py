"""`kvmesh bench` on a mesh, on servers of others, and on none."""

import json
import os
import shutil
import ssl
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from starter.ports import free_port
from tests.fleet.openai_stub import Manners, serving
from tests.kit.fleet import Fleet

MAIN = "from frontend.cli.main import main; raise SystemExit(main())"
SMALL = ("--prompt-tokens", "200", "--output-tokens", "8")


def bench(
    *arguments: str, folder: Path, env: dict[str, str] | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", MAIN, "bench", *arguments],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | (env or {}),
    )


def measured(*arguments: str, folder: Path, **options: Any) -> tuple[int, dict[str, Any]]:
    """The exit code and what was measured."""
    done = bench("--json", *arguments, folder=folder, **options)
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


@pytest.mark.parametrize("endpoint", ["chat", "completions"])
def test_a_mesh_is_measured_as_it_counts(shared: Fleet, tmp_path: Path, endpoint: str) -> None:
    code, told = measured(
        *("--url", f"{shared.url}/v1", "--concurrency", "1,4", "--requests", "24"),
        *("--endpoint", endpoint, *SMALL),
        folder=tmp_path,
    )
    assert (code, told["model"], told["endpoint"]) == (0, "demo", endpoint)
    assert [each["concurrency"] for each in told["loads"]] == [1, 4]
    for load in told["loads"]:
        assert (load["requests"], load["failures"]) == (24, {})
        assert load["output_tokens"] == 8.0
        assert load["prompt_tokens"] == pytest.approx(200, rel=0.1)
        assert load["cached_share"] < 0.15
        assert 0 < load["ttft_ms"]["p50"] <= load["ttft_ms"]["p99"] <= load["request_ms"]["p99"]
        assert load["requests_per_s"] > 0
        assert load["output_tokens_per_s"] > load["requests_per_s"]
    assert list(tmp_path.iterdir()) == []


def test_what_prompts_share_is_cached(shared: Fleet, tmp_path: Path) -> None:
    code, told = measured(
        *("--url", f"{shared.url}/v1", "--concurrency", "2", "--requests", "30"),
        *("--prompt-tokens", "400", "--output-tokens", "4", "--shared-prefix", "320"),
        folder=tmp_path,
    )
    assert code == 0
    assert told["loads"][0]["cached_share"] > 0.5


def test_a_table_is_printed_and_a_picture_drawn_and_nothing_overwritten(
    shared: Fleet, tmp_path: Path
) -> None:
    arguments = ("--url", f"{shared.url}/v1", "--concurrency", "3", "--seconds", "0.5", *SMALL)
    for number in (1, 2):
        done = bench(*arguments, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"drawn in kvmesh-bench-{number}.svg" in done.stdout
    assert "each user's first request is a warm-up and not measured" in done.stdout
    row = next(line for line in done.stdout.splitlines() if line.strip().startswith("3 "))
    assert row.split()[2] == "0"
    drawn = ET.parse(tmp_path / "kvmesh-bench-2.svg").getroot()
    assert "Output tokens per second" in "".join(drawn.itertext())
    done = bench(*arguments, "--out", "kvmesh-bench-1.svg", folder=tmp_path)
    assert done.returncode == 1
    assert "nothing is overwritten" in done.stderr


def test_a_server_that_knows_less_is_measured_and_it_is_said(tmp_path: Path) -> None:
    manners = Manners(refuses=("ignore_eos", "max_tokens"), key="of-theirs")
    with serving(manners) as url:
        code, told = measured(
            *("--url", url, "--concurrency", "2", "--requests", "10", *SMALL),
            folder=tmp_path,
            env={"OPENAI_API_KEY": "of-theirs"},
        )
        assert bench("--url", url, folder=tmp_path).returncode == 1
    assert (code, told["model"]) == (0, "theirs")
    assert "no ignore_eos" in told["notes"][0]
    (load,) = told["loads"]
    assert (load["prompt_tokens"], load["output_tokens"]) == (200.0, 8.0)
    assert load["cached_share"] is None
    assert "of-theirs" not in json.dumps(told)
    assert {"max_completion_tokens"} <= set(manners.bodies[-1])
    prompts = [body["messages"][0]["content"] for body in manners.bodies if body["stream"]]
    assert len(set(prompts[-10:])) == 10


def test_a_server_that_does_not_count_is_measured_by_pieces(tmp_path: Path) -> None:
    with serving(Manners(tells_usage=False, refuses=("stream_options",))) as url:
        code, told = measured(
            *("--url", url, "--concurrency", "1", "--requests", "5", *SMALL), folder=tmp_path
        )
    assert code == 0
    assert "does not count tokens" in " ".join(told["notes"] + told["loads"][0]["notes"])
    assert told["loads"][0]["output_tokens"] == 8.0


def test_a_server_that_closes_after_each_answer_is_measured(tmp_path: Path) -> None:
    with serving(Manners(closes=True)) as url:
        code, told = measured(
            *("--url", url, "--concurrency", "2", "--requests", "6", *SMALL), folder=tmp_path
        )
    (load,) = told["loads"]
    assert (code, load["requests"], load["failures"]) == (0, 6, {})


def test_tls_is_spoken_and_the_server_must_be_who_it_says(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, to make a certificate with")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-subj", "/CN=stub", "-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", key, "-out", certificate),
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    arguments = ("--concurrency", "2", "--requests", "6", *SMALL)
    with serving(Manners(tls=context)) as url:
        known = {"SSL_CERT_FILE": str(certificate)}
        code, told = measured("--url", url, *arguments, folder=tmp_path, env=known)
        refused = bench("--url", url, *arguments, folder=tmp_path)
    assert (code, told["loads"][0]["requests"]) == (0, 6)
    assert refused.returncode == 1
    assert "certificate" in refused.stderr


@pytest.mark.parametrize(
    ("breaks_off", "why"), [(False, "429: Slow down"), (True, "the answer broke off")]
)
def test_errors_are_counted_and_said(tmp_path: Path, breaks_off: bool, why: str) -> None:
    with serving(Manners(fails_every=4, breaks_off=breaks_off)) as url:
        done = bench(
            *("--url", url, "--concurrency", "1", "--requests", "12", *SMALL), folder=tmp_path
        )
    assert done.returncode == 1
    assert f"3 times {why}" in done.stdout
    assert "requests failed, and are in no figure but the errors" in done.stdout


def test_where_nobody_is_it_is_one_line(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    done = bench("--url", url, folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"kvmesh: cannot measure {url}: nobody answers: ")
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_served_is_one_line(shared: Fleet, tmp_path: Path) -> None:
    done = bench("--url", f"{shared.url}/v1", "--model", "nobody", folder=tmp_path)
    assert done.returncode == 1
    assert "404: " in done.stderr
    assert "nobody" in done.stderr


def test_a_frontend_that_dies_meanwhile_is_an_error_and_no_endless_load(
    fleet: Fleet, tmp_path: Path
) -> None:
    frontend = fleet.frontend()
    fleet.worker("--served-model-name", "demo", "--sim-speedup", "0")
    fleet.wait_for_workers(1)
    running = fleet.launch(
        "bench",
        [
            *(sys.executable, "-c", MAIN, "bench", "--url", f"{fleet.url}/v1"),
            *("--concurrency", "2", "--seconds", "600", "--json", *SMALL),
        ],
    )
    fleet.wait_until(lambda: served(fleet) > 50, "the load runs")
    frontend.kill()
    assert running.popen.wait(60) == 1
    (load,) = json.loads(running.output())["loads"]
    assert load["requests"] > 0
    assert sum(load["failures"].values()) == 20
    assert any("no connection" in why for why in load["failures"])


def served(fleet: Fleet) -> float:
    """How many requests the frontend has answered."""
    with urllib.request.urlopen(f"{fleet.url}/metrics", timeout=10) as page:
        lines = page.read().decode().splitlines()
    return sum(
        float(line.split()[-1])
        for line in lines
        if line.startswith("dynamo_frontend_requests_total{")
    )
