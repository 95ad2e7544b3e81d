"""Arguments, facts, data-parallel ranks and the end of an engine.

(test_z_stop.py ends the shared one.)
"""

import json

import pytest

from protocol.process.own_directory import OWN_DIRECTORY
from workers.demo_model import demo_model_dir

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def two_ranks(model_dir, start_engine, tmp_path_factory):
    """Configured by a file, except for what the command line overrides."""
    config = tmp_path_factory.mktemp("config") / "worker.yaml"
    config.write_text(
        f"model-path: {model_dir}\ndtype: float32\ndp_size: 2\npage-size: "
        "32\nmax-total-tokens: 9999\n"
        "max_running_requests: 8\nlog-level: warning\n"
    )
    template = config.with_name("chat.jinja")
    template.write_text("{{ messages[0].content }}")
    return start_engine(
        "--config", str(config), "--max-total-tokens", "2048", "--chat-template", str(template)
    )


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


def test_the_config_file_is_read_and_the_command_line_wins(two_ranks, model_dir):
    capacity = two_ranks.facts.capacity
    assert (capacity.dp_size, capacity.page_size_tokens, capacity.kv_tokens) == (2, 32, 2048)
    assert two_ranks.facts.card.name == model_dir.name  # a path is nobody's business
    assert two_ranks.facts.card.chat_template_file == "chat.jinja"


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


def test_requests_run_on_the_rank_they_are_routed_to(two_ranks, make_request, read):
    """Seen by the prefix cache, which each rank has for itself."""
    prompt = [(3 * n) % 250 for n in range(96)]

    def cached_on(rank):
        [deltas] = two_ranks.run(make_request(prompt, max_new_tokens=2, routed_dp_rank=rank))
        return read.finish(deltas).cached_tokens

    assert [cached_on(rank) for rank in (1, 0, 1, 0)] == [0, 0, 64, 64]
    assert [load.dp_rank for load in two_ranks.loads()] == [0, 1]


def test_both_ranks_answer_like_one(two_ranks, engine, make_request, read):
    prompts = [[n, n + 1, n + 2] for n in range(8)]
    one = engine.run(*(make_request(prompt) for prompt in prompts))
    two = two_ranks.run(
        *(make_request(prompt, routed_dp_rank=index % 2) for index, prompt in enumerate(prompts))
    )
    assert [read.tokens(deltas) for deltas in two] == [read.tokens(deltas) for deltas in one]


def test_stop_fails_what_runs_and_leaves_no_process(two_ranks, make_request, read):
    request = make_request([1, 2, 3], max_new_tokens=1000, ignore_eos=True)
    two_ranks.send(request)
    two_ranks.collect(until=lambda: request.request_id in two_ranks.by_id)
    assert two_ranks.stop() == []
    assert read.failure(two_ranks.by_id[request.request_id]).code == "worker_lost"
    assert two_ranks.process.returncode == 0


BAD = {
    "unknown flag": (["--model-path", "x", "--no-such-flag"], "no-such-flag"),
    "wrong type": (["--page-size", "many"], "page-size"),
    "no such file": (["--config", "nowhere.yaml"], "nowhere.yaml"),
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


def test_what_a_scheduler_cannot_load_is_said_in_its_own_words(python, tmp_path):
    for file in demo_model_dir().glob("*.json"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    done = python(
        str(__file__).replace("test_start_and_stop", "engine_process"),
        "ipc:///dev/null",
        "--model-path",
        str(tmp_path),
    )
    assert done.returncode == 3, done.stderr[-3000:]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("StartError: ")]
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
