import json

import pytest
from tokenizers import Tokenizer

from bench.kit.workloads import (
    Corpus,
    Shape,
    conversations,
    corpus_lines,
    ensure_model_dir,
    fresh,
    shared_prefix,
    write_bodies,
)


@pytest.fixture(scope="module")
def lines() -> list[str]:
    return corpus_lines()[:1500]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory, lines):
    return ensure_model_dir(tmp_path_factory.mktemp("model"), vocab_size=600, lines=lines)


@pytest.fixture(scope="module")
def corpus(model_dir, lines) -> Corpus:
    return Corpus(model_dir, lines)


@pytest.mark.parametrize("tokens", [32, 128, 2000])
def test_prompts_have_the_wanted_length(corpus, model_dir, tokens):
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    lengths = [
        len(tokenizer.encode(body["messages"][0]["content"]).ids)
        for body in fresh(corpus, Shape(input_tokens=tokens, output_tokens=1), 20, seed=3)
    ]
    assert sum(lengths) / len(lengths) == pytest.approx(tokens, rel=0.04, abs=8)


def test_one_seed_gives_one_workload_and_another_gives_another(corpus):
    shape = Shape(input_tokens=40, output_tokens=1)
    first, again, other = (list(fresh(corpus, shape, 30, seed)) for seed in (1, 1, 2))
    assert first == again != other
    assert len({body["messages"][0]["content"] for body in first + other}) == 60


def test_groups_share_their_prefix_and_nothing_else(corpus):
    bodies = list(
        shared_prefix(
            corpus, Shape(input_tokens=30, output_tokens=1), 40, seed=1, groups=4, prefix_tokens=200
        )
    )
    prefixes = [body["messages"][0]["content"] for body in bodies]
    assert sorted(prefixes.count(prefix) for prefix in set(prefixes)) == [10, 10, 10, 10]
    assert len({body["messages"][1]["content"] for body in bodies}) == 40


def test_a_conversation_grows_by_an_answer_and_a_question_a_turn(corpus):
    bodies = list(
        conversations(corpus, Shape(input_tokens=20, output_tokens=10), 3, seed=1, turns=4)
    )
    assert len(bodies) == 12
    for earlier, later in zip(bodies, bodies[3:], strict=False):
        assert later["messages"][:-2] == earlier["messages"]
        assert [message["role"] for message in later["messages"][-2:]] == ["assistant", "user"]


def test_streams_ask_for_usage(corpus):
    (body,) = fresh(corpus, Shape(input_tokens=20, output_tokens=7, stream=True), 1, seed=1)
    assert body["stream_options"] == {"include_usage": True}
    assert (body["max_tokens"], body["ignore_eos"]) == (7, True)


def test_bodies_are_written_one_a_line(corpus, tmp_path):
    wanted = list(fresh(corpus, Shape(input_tokens=60, output_tokens=1), 5, seed=1))
    text = write_bodies(wanted, tmp_path / "deep" / "bodies.jsonl").read_text()
    assert [json.loads(line) for line in text.splitlines()] == wanted
