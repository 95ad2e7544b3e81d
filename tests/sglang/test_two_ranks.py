"""An engine of two data-parallel ranks: its settings, who runs what, what is written of it,
signals, silence and death.
"""

import json
import os
import signal

import pytest

from starter.waiting import wait_until

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def two_ranks(model_dir, start_engine, tmp_path_factory):
    """Configured by a file, except for what the command line overrides."""
    config = tmp_path_factory.mktemp("config") / "worker.yaml"
    config.write_text(
        f"model-path: {model_dir}\ndtype: float32\ndp_size: 2\npage-size: "
        "32\nmax-total-tokens: 9999\n"
        "max_running_requests: 8\nlog-level: warning\n"
        "enable-metrics: true\nexport-metrics-to-file: true\n"
        f"export-metrics-to-file-dir: {config.parent}/exported\n"
        "log-requests: true\nlog-requests-format: json\n"
        f"log-requests-target: [{config.parent}/logged]\n"
    )
    template = config.with_name("chat.jinja")
    template.write_text("{{ messages[0].content }}")
    engine = start_engine(
        "--config", str(config), "--max-total-tokens", "992", "--chat-template", str(template)
    )
    engine.written = config.parent
    return engine


def test_the_config_file_is_read_and_the_command_line_wins(two_ranks, model_dir):
    capacity = two_ranks.facts.capacity
    assert (capacity.dp_size, capacity.page_size_tokens, capacity.kv_tokens) == (2, 32, 992)
    assert two_ranks.facts.card.name == model_dir.name  # a path is nobody's business
    assert two_ranks.facts.card.chat_template_file == "chat.jinja"


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


def test_a_prompt_that_no_rank_would_ever_compute_is_refused_and_the_longest_other_is_not(
    two_ranks, make_request, read
):
    """SGLang takes the first for one that it can wait for, and nobody behind it gets anything."""
    longest = 992 - 32 - 32
    request = make_request([7] * (longest + 1), max_new_tokens=1)
    [deltas] = two_ranks.run(request)
    assert deltas[-1].end.code == "context_length_exceeded"
    assert str(longest) in deltas[-1].end.message
    [deltas] = two_ranks.run(make_request([7] * longest, max_new_tokens=1))
    assert len(read.tokens(deltas)) == 1


def test_what_is_written_of_a_request_says_its_ids(two_ranks, make_request):
    """In the file of `--export-metrics-to-file`, and the log of `--log-requests-format json`."""
    request = make_request([5, 6, 7], max_new_tokens=2)
    two_ranks.run(request)

    def lines(folder, key):
        texts = [file.read_text() for file in sorted((two_ranks.written / folder).iterdir())]
        # what follows the last newline is half a line, still being written
        whole = [line for text in texts for line in text.split("\n")[:-1]]
        told = [json.loads(line[line.index("{") :]) for line in whole]
        return [each for each in told if each[key] == request.request_id]

    def written():
        return len(lines("exported", "id")) == 1 and len(lines("logged", "rid")) == 2

    wait_until(written, "it is written, a moment after its end")
    [exported] = lines("exported", "id")
    assert json.loads(exported["request_parameters"])["input_ids"] == [5, 6, 7]
    assert exported["completion_tokens"] == 2
    logged = lines("logged", "rid")
    assert [line["event"] for line in logged] == ["request.received", "request.finished"]
    assert [line["obj"]["input_ids"] for line in logged] == [[5, 6, 7]] * 2


def test_ctrl_c_at_the_terminal_leaves_the_schedulers_to_the_worker(two_ranks, make_request, read):
    """The terminal sends SIGINT to every process of its group."""
    _ = two_ranks.facts
    children = [
        int(pid)
        for pid, name in two_ranks.state()["children"].items()
        if name.startswith("sglang::")
    ]
    assert len(children) == 3  # controller, two schedulers
    for pid in children:
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(pid, number)
    for rank in (0, 1):
        [deltas] = two_ranks.run(make_request([1, 2, 3], max_new_tokens=4, routed_dp_rank=rank))
        assert len(read.tokens(deltas)) == 4


def test_a_stopped_rank_does_not_answer_its_canary_and_answers_the_next_one_when_it_goes_on(
    two_ranks, make_canary, read
):
    two_ranks.rest()
    [frozen] = [
        int(pid) for pid, name in two_ranks.state()["children"].items() if "scheduler_DP1" in name
    ]
    os.kill(frozen, signal.SIGSTOP)
    silent, other = (
        make_canary(3, routed_dp_rank=1),
        make_canary(4, routed_dp_rank=0),
    )
    two_ranks.send(silent)
    [deltas] = two_ranks.run(other)
    assert len(read.tokens(deltas)) == 1
    assert silent.request_id not in two_ranks.by_id
    two_ranks.send({"type": "abort", "request_id": silent.request_id})
    [deltas] = two_ranks.collect(silent.request_id)  # an abort ends a canary whatever its rank does
    assert read.finish(deltas).reason == "abort"
    os.kill(frozen, signal.SIGCONT)
    [deltas] = two_ranks.run(make_canary(5, routed_dp_rank=1))
    read.finish(deltas)
    state = two_ranks.state()
    assert (state["rids"], state["in_flight"]) == ([], [])


@pytest.mark.last
def test_a_killed_scheduler_is_a_death_that_is_told(two_ranks, make_request):
    long = make_request([1, 2, 3], max_new_tokens=1000, ignore_eos=True, routed_dp_rank=1)
    two_ranks.send(long)
    two_ranks.collect(until=lambda: long.request_id in two_ranks.by_id)
    [victim] = [
        int(pid) for pid, name in two_ranks.state()["children"].items() if "scheduler_DP1" in name
    ]
    os.kill(victim, signal.SIGKILL)
    reason = two_ranks.death()
    assert reason.startswith("SGLang's scheduler_DP1")
    assert two_ranks.process.popen.poll() is None  # it lives on to say so


@pytest.mark.last
def test_a_dead_engine_is_killed_whole(two_ranks):
    assert two_ranks.death()
    assert two_ranks.stop(kill=True) == []
    assert two_ranks.process.popen.returncode == 0
