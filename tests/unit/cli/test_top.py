"""What `kvmesh top` draws: blocks, words, and pictures that fit whatever terminal."""

import io
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from rich.console import Console

from frontend.cli.top.bars import bar, plot, round_up
from frontend.cli.top.charts import slots
from frontend.cli.top.picture import picture
from frontend.cli.top.seen import Seen
from frontend.cli.top.words import count, percent, plain, span
from frontend.status.snapshot import (
    DepartedStatus,
    Point,
    RankStatus,
    RequestStatus,
    Snapshot,
    WorkerStatus,
)
from tests.kit.status_samples import ERROR, MODEL, POINT, RANK, SNAPSHOT, WORKER

URL = "http://127.0.0.1:8000"


def point(at: float, **fields: Any) -> Point:
    told: dict[str, Any] = {"tokens": 100.0 * at, "ttft_ms_max": 90.0, "running": 8, "waiting": 3}
    return replace(POINT, at_unix_s=at, **(told | fields))


def rank(number: int = 0) -> RankStatus:
    return replace(
        RANK,
        dp_rank=number,
        waiting=2,
        booked=7,
        running_max=256,
        kv_tokens=950,
        kv_tokens_max=1000,
        cached_blocks=12_345,
        hit_rate=0.25,
    )


def worker(name: str, state: str = "ready", ranks: int = 1, why: str = "") -> WorkerStatus:
    return replace(
        WORKER,
        worker_id=name,
        stage="decode",
        state=state,
        why=why,
        loading_s=7.0 if state == "loading" else None,
        kv_events="catching up",
        adapters=2,
        ranks=[rank(number) for number in range(ranks)],
    )


def snapshot(*workers: WorkerStatus, **fields: Any) -> Snapshot:
    model = replace(MODEL, ready=False, missing="prefill worker", waiting=4, tokens_per_s=1234.5)
    error = replace(
        ERROR,
        code="worker_lost",
        status=502,
        what="Its worker was lost.",
        count=12,
        last_unix_s=95.0,
    )
    departed = DepartedStatus(
        worker_id="gone", model="demo", cause="died", why="It died.", planned=False, at_unix_s=40.0
    )
    told: dict[str, Any] = {
        "request_id": "0123abcd",
        "endpoint": "chat_completions",
        "model": "demo",
        "worker": "a/0",
        "moves": 0,
        "prompt_tokens": 30_000,
        "cached_tokens": 100,
        "output_tokens": 200,
        "prepared_s": 0.01,
        "queue_s": 3.25,
        "sent_s": 3.3,
        "ttft_s": 9.0,
        "last_token_s": 12.0,
        "took_s": 12.345,
        "outcome": "stop",
        "ended_unix_s": 99.0,
    }
    slow = msgspec.convert(told, RequestStatus)
    shown: dict[str, Any] = {
        "version": "0.1.0",
        "up_s": 3_700.0,
        "verdict": "degraded",
        "reasons": ["worker b is unhealthy: it hangs"],
        "models": [model],
        "workers": list(workers),
        "departed": [departed],
        "errors": [error],
        "slowest": [slow] * 9,
        "history": [point(float(at)) for at in range(1, 60)],
    }
    return replace(SNAPSHOT, **(shown | fields))


def seen(shown: Snapshot) -> Seen:
    what = Seen()
    what.take(shown)
    return what


def drawn(what: Seen, width: int = 140, height: int = 40) -> list[str]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, highlight=False)
    console.print(picture(what, URL, 10.0, width, height))
    return out.getvalue().splitlines()


def test_bars_lie_and_columns_stand() -> None:
    assert bar(0.0, 4) == "    "
    assert bar(0.5, 4) == "██  "
    assert bar(0.28, 4) == "█▏  "
    assert bar(7.0, 4) == "████"
    rows = plot([0.0, None, 1.0, 8.0, 16.0, 99.0], 16.0, 2)
    assert ["".join(cell.character for cell in row) for row in rows] == ["    ██", "  ▁███"]
    (row,) = plot([1.0, 0.0, 4.0], 8.0, 1, [8.0, 4.0, None])
    assert [(cell.character, cell.over, cell.before) for cell in row] == [
        ("▁", False, True),
        ("▄", True, False),
        ("▄", False, False),
    ]
    assert [round_up(value) for value in (0.0, 0.7, 1.0, 4545.0, 10_001.0)] == [
        1.0,
        pytest.approx(0.8),
        1.0,
        5000.0,
        15_000.0,
    ]


def test_points_stand_where_their_time_is() -> None:
    points = [point(10.0), point(11.0), point(14.1)]
    found = slots(points, 1.0, 6, lambda each: each.at_unix_s)
    assert found == [None, 10.0, 11.0, None, None, 14.1]
    assert slots(points, 1.0, 2, lambda each: each.at_unix_s) == [None, 14.1]
    assert slots([], 1.0, 2, lambda each: each.tokens) == [None, None]


def test_the_past_outlives_a_frontend_that_is_started_anew() -> None:
    what = seen(snapshot(history=[point(1.0), point(2.0)]))
    what.tell_problem("refused", 5.0)
    what.tell_problem("refused again", 6.0)
    assert (what.problem, what.problem_since) == ("refused again", 5.0)
    what.take(snapshot(history=[]))
    what.take(snapshot(history=[point(2.0), point(9.0)]))
    assert [each.at_unix_s for each in what.points] == [1.0, 2.0, 9.0]
    assert what.problem == ""


def test_numbers_and_times_are_short() -> None:
    assert [count(each) for each in (None, 0, 8.46, 1234.5, 45_678.0, 2.5e6, 3e9)] == [
        "-",
        "0",
        "8.5",
        "1,234",
        "45.7k",
        "2.5M",
        "3.0G",
    ]
    assert [span(each) for each in (-1, 59.9, 61, 3_700, 90_000)] == [
        "0 s",
        "59 s",
        "1 min 1 s",
        "1 h 1 min",
        "1 d 1 h",
    ]
    assert (percent(None), percent(0.256)) == ("-", "26%")
    assert plain("a\x1b[2Jb\n") == "a?[2Jb?"


def test_a_picture_has_all_that_matters() -> None:
    shown = snapshot(worker("a", ranks=2), worker("b", "unhealthy", why="it hangs"))
    text = "\n".join(drawn(seen(shown)))
    for words in (
        "● degraded",
        "worker b is unhealthy: it hangs",
        "up 1 h 1 min",
        "tokens 5,900 /s",
        "median, slowest; up to 100",
        "no prefill worker",
        "5/256",
        "95%",
        "12.3k",
        "rank 1",
        "KV events catch up",
        "12 times 502 worker_lost at /v1/completions demo: Its worker was lost.",
        "gone (demo) left: It died.",
        "12.35 s  0123abcd  stop; queue 3.25 s, first token 9.00 s; 30.0k tokens in, 100 cached",
    ):
        assert words in text, words
    assert text.index("unhealthy") < text.index("ready ")


@pytest.mark.parametrize("width", [40, 80, 100, 200])
@pytest.mark.parametrize("height", [10, 15, 24, 40])
def test_a_picture_fits_its_terminal(width: int, height: int) -> None:
    many = [worker(f"worker-{number:03}", ranks=2) for number in range(50)]
    lines = drawn(seen(snapshot(*many)), width, height)
    assert len(lines) <= max(height, 17)  # the least that it takes, of which the end is cut
    assert all(len(line) <= width for line in lines)
    assert any("more" in line for line in lines)


def test_a_frontend_that_does_not_answer_is_told_with_what_was_seen_last() -> None:
    what = seen(snapshot(worker("a")))
    what.tell_problem("Connection refused", 4.0)
    text = "\n".join(drawn(what))
    assert "● no news for 6 s: Connection refused" in text
    assert "a " in text
    assert "no answer from" in "\n".join(drawn(Seen(problem="x", problem_since=1.0)))


def test_what_others_call_themselves_draws_nothing() -> None:
    shown = snapshot(worker("[red]\x1b[2J", why="[/]\x07"))
    text = "\n".join(drawn(seen(shown)))
    assert "[red]?[2J" in text
    assert "[/]?" in text
    assert "\x1b" not in text


def test_a_snapshot_of_a_newer_frontend_is_read() -> None:
    told = msgspec.to_builtins(snapshot(worker("a", "paused"))) | {"newer": 1}
    shown = msgspec.convert(told, Snapshot)
    assert "paused" in "\n".join(drawn(seen(shown)))
