from contextlib import ExitStack

import pytest

from bench.compare.run import markdown, medians, run_rows
from bench.compare.systems import SYSTEMS, EngineSpec, peers_named
from bench.compare.tables import STANDARD, TABLES, FleetShape, Row
from bench.kit.running import Starting
from bench.kit.workloads import Corpus, Shape, corpus_lines, ensure_model_dir


def test_medians_leave_out_rounds_without_the_measure():
    assert medians([{"a": 3.0, "b": None}, {"a": 1.0, "b": 2.0}, {"a": 2.0, "b": None}]) == {
        "a": 2.0,
        "b": 2.0,
    }


def test_dynamo_stands_for_its_three_configurations():
    assert peers_named("dynamo,bare") == ["dynamo-rr", "dynamo-kv", "dynamo-fastokens", "bare"]
    assert peers_named("none") == []
    with pytest.raises(ValueError, match="unknown peers"):
        peers_named("gatway")


def test_rows_have_distinct_names_and_an_end():
    for rows in TABLES.values():
        assert len({row.name for row in rows}) == len(rows)
        assert all((row.requests is None) != (row.duration_s is None) for row in rows)
    assert all(row.concurrency <= row.bodies for row in STANDARD)


def test_a_table_is_measured_shown_and_drawn(tmp_path):
    from bench.kit.plot import plot  # noqa: PLC0415  # matplotlib: not at collection

    lines = corpus_lines()[:300]
    model_dir = ensure_model_dir(tmp_path / "model", vocab_size=400, lines=lines)
    corpus = Corpus(model_dir, lines)
    rows = [
        Row(
            name="chat",
            title="chat",
            shape=Shape(input_tokens=20, output_tokens=1),
            concurrency=2,
            bodies=10,
            requests=10,
        ),
        Row(
            name="flow",
            title="flow",
            shape=Shape(input_tokens=20, output_tokens=6, stream=True),
            concurrency=2,
            bodies=4,
            requests=8,
        ),
    ]
    with ExitStack() as stack:
        starting = Starting(stack, tmp_path / "logs")
        running = [
            SYSTEMS[name](name, EngineSpec(model_dir=model_dir, fleet=FleetShape()), starting)
            for name in ("bare", "asgi")
        ]
        found = run_rows(rows, running, corpus, rounds=2, seed=1)
    result = {
        "table": "test",
        "machine": {"cores": 1, "cpu": ""},
        "rounds": 2,
        "rows": found,
        "memory": {},
    }
    flow = found["flow"]["systems"]["asgi"]
    assert len(flow["rounds"]) == 2
    assert (flow["median"]["requests"], flow["median"]["tokens_per_event"]) == (8, 1)
    assert not found["chat"]["failed"]
    assert markdown(result, ["bare", "asgi"]).count("\n") == 3
    (tmp_path / "out.json").write_text(__import__("json").dumps(result))
    assert plot(tmp_path / "out.json").read_bytes().startswith(b"\x89PNG")
