"""Arguments and facts of an engine, and what is said where it cannot start."""

import json

import pytest

from protocol.process.own_directory import OWN_DIRECTORY
from workers.demo_model import demo_model_dir

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

START_S_MAX = 300


def test_facts_describe_the_model_and_its_limits(engine, model_dir):
    facts = engine.facts
    assert facts.version == "sglang 0.5.23 on cpu"
    assert (facts.card.name, facts.card.aliases) == ("tiny", ["tiny-alias"])
    assert (facts.card.context_length, facts.card.vocab_size) == (1024, 384)
    assert 258 in facts.card.eos_token_ids
    capacity = facts.capacity
    assert (
        capacity.dp_size,
        capacity.page_size_tokens,
        capacity.kv_tokens,
        capacity.requests_running_max,
    ) == (1, 16, 4096, 8)
    assert {path.parent for path in facts.card_files.values()} == {model_dir}
    assert {file.name for file in facts.card.files} >= {
        "tokenizer.json",
        "tokenizer_config.json",
        "config.json",
    }


_DEFAULTS = """
from workers.sglang.arguments import parse_server_args
from workers.sglang.cpu import activate_if_cpu_host
cpu = activate_if_cpu_host([])
print(parse_server_args(["--dp-size", "2"], cpu=cpu, kv_events=True).kv_events_config)
print(parse_server_args(["--disable-radix-cache"], cpu=cpu, kv_events=True).kv_events_config)
print(parse_server_args([], cpu=cpu, kv_events=False).kv_events_config)
demo = parse_server_args(["--skip-tokenizer-init"], cpu=cpu, kv_events=False)
print(demo.skip_tokenizer_init)
print(demo.model_path)
"""


def test_without_arguments_the_demo_model_is_served_and_tells_its_kv_events(python):
    done = python("-c", _DEFAULTS)
    two_ranks, without_cache, unwanted, skips_tokenizer, model = done.stdout.splitlines()[-5:]
    assert (skips_tokenizer, model) == ("False", str(demo_model_dir()))
    assert (without_cache, unwanted) == ("None", "None")
    config = json.loads(two_ranks)
    assert (config["publisher"], config["bind"]) == ("zmq", True)
    events, replay = config["endpoint"], config["replay_endpoint"]
    assert events.startswith(f"ipc://{OWN_DIRECTORY}/")  # of which each rank has one of its own
    assert replay.startswith(f"ipc://{OWN_DIRECTORY}/")


_FORMATS = """
import sys
from unittest.mock import patch
from workers.sglang.cpu import activate_if_cpu_host
activate_if_cpu_host([])
from workers.sglang.arguments import parse_server_args
from workers.sglang.cpu.number_format import multiplies_bfloat16
from workers.sglang.diffusion.arguments import make_ready, parse_generator_args
make_ready(True)
demo = sys.argv[1]
def engine(*argv, cpu=True):
    return parse_server_args([*argv], cpu=cpu, kv_events=False).dtype
def generator(*argv, cpu=True):
    told = ["--model-path", demo, "--model-id", "FLUX.1-dev", *argv]
    pipeline = parse_generator_args(told, videos=False, cpu=cpu).pipeline_config
    return [pipeline.dit_precision, pipeline.vae_precision, *pipeline.text_encoder_precisions]
assert multiplies_bfloat16() in (False, True)
for known in (True, False):
    with patch("workers.sglang.cpu.number_format.multiplies_bfloat16", return_value=known):
        print(">", known, engine(), engine("--dtype", "auto"), engine("--dtype=half"))
        print(">", known, *generator(), *generator("--dit-precision", "bf16"))
        print(">", known, *generator(cpu=False), *generator("--component-precisions.vae", "fp16"))
"""


def test_a_cpu_without_bfloat16_computes_in_float32_unless_told_otherwise(python):
    done = python("-c", _FORMATS, str(demo_model_dir("image")))
    own = ["bf16", "bf16", "bf16", "bf16"]
    said = [line.split()[1:] for line in done.stdout.splitlines() if line.startswith(">")]
    assert said == [
        ["True", "auto", "auto", "half"],
        ["True", *own, *own],
        ["True", *own, *own],
        ["False", "float32", "auto", "half"],
        ["False", "fp32", "fp32", "fp32", "fp32", "bf16", "fp32", "fp32", "fp32"],
        ["False", *own, *own],
    ], (done.stdout, done.stderr)


BAD = {
    "unknown flag": (["--model-path", "x", "--no-such-flag"], "no-such-flag"),
    "wrong type": (["--page-size", "many"], "page-size"),
    "no such file": (["--config", "nowhere.yaml"], "nowhere.yaml"),
    "no such algorithm": (["--dllm-algorithm", "Guessing"], "it has: Gemma4Renoise, Joint"),
    "beside diffusion": (["--dllm-algorithm", "LowConfidence", "--enable-lora"], "--enable-lora"),
}

_PARSE = """
import sys
from protocol.process.start_error import StartError
from workers.kinds.text import TEXT
from workers.sglang.engine import SglangEngine
for argv in eval(sys.argv[1]):
    try:
        SglangEngine.from_argv(argv, first_work=TEXT.first_work)
    except StartError as error:
        print("StartError:", error)
"""


def test_a_bad_argument_is_said_in_one_line(python):
    done = python("-c", _PARSE, repr([argv for argv, _ in BAD.values()]))
    lines = [line for line in done.stdout.splitlines() if line]
    assert len(lines) == len(BAD), (done.stdout, done.stderr)
    for line, (_, named) in zip(lines, BAD.values(), strict=True):
        assert line.startswith("StartError: ")
        assert named in line
    assert "usage" not in done.stderr


_SECTION = """
import json, sys
from protocol.process.own_directory import process_directory
from protocol.process.start_error import StartError
from workers.app import _arguments
from workers.kinds.registry import kind_for
from workers.settings import WorkerSettings
file, *keys = sys.argv[1:]
for key in keys:
    settings = WorkerSettings(disagg_config=file, disagg_config_key=key)
    arguments = _arguments(settings, ["--page-size", "64"], None)
    try:
        told = kind_for(arguments).engine(arguments)._server_args
        print(kind_for(arguments).name, told.disaggregation_mode, told.page_size, told.dp_size)
    except StartError as error:
        print("StartError:", error)
    print("left:", list(process_directory().glob("*.yaml")))
"""


def test_a_section_of_a_file_is_read_as_sglangs_own_file(python, tmp_path):
    file = tmp_path / "fleet.yaml"
    file.write_text(
        "prefill: {disaggregation_mode: prefill, page_size: 32, dp-size: 2}\n"
        "decode: {disaggregation-mode: decode, device: cpu, disable_radix_cache: true}\n"
        "wrong: {no_such_flag: 1}"
    )
    done = python("-c", _SECTION, str(file), "prefill", "decode", "wrong")
    lines = done.stdout.splitlines()[-6:]
    assert lines[0::2][:2] == ["prefill prefill 64 2", "text decode 64 1"], done.stderr
    assert lines[4].startswith("StartError: ")
    assert "no_such_flag" in lines[4].replace("-", "_")
    assert lines[1::2] == ["left: []"] * 3


def test_what_a_scheduler_cannot_load_is_said_in_its_own_words(start_engine, tmp_path):
    for file in demo_model_dir().glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    engine = start_engine("--model-path", str(tmp_path))
    assert engine.process.popen.wait(START_S_MAX) == 3
    errors = engine.process.output()
    (line,) = [line for line in errors.splitlines() if line.startswith("StartError: ")]
    assert line.startswith(
        f"StartError: SGLang cannot start with {tmp_path}: RuntimeError: Cannot find any "
        "model weights"
    )


def test_help_has_every_argument_of_sglang(python):
    done = python("-c", "from workers.sglang.arguments import sglang_help; print(sglang_help())")
    assert done.returncode == 0, done.stderr
    assert {"--model-path", "--tp-size", "--kv-events-config", "--config"} <= set(
        done.stdout.replace("=", " ").split()
    )
