"""What `kvmesh bench` makes of what it measured: streams read, figures, notes, picture."""

import xml.etree.ElementTree as ET
from datetime import UTC, datetime
from random import Random

import pytest

from frontend.cli.bench.chart import scale_of
from frontend.cli.bench.drawing import drawing
from frontend.cli.bench.load import Outcome, Record, Window
from frontend.cli.bench.measurement import Report
from frontend.cli.bench.prompts import WORDS, Measure, Prompts, measured
from frontend.cli.bench.server import BadUrl, Server
from frontend.cli.bench.streamed import StreamedAnswer, Usage, said_of_error
from frontend.cli.bench.summary import Wanted, notes_on, summary_of
from frontend.cli.bench.table import lines

WANTED = Wanted(prompt_tokens=100, output_tokens=4, same_host=True)

STREAM = (
    b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
    b": a comment\n\n"
    b'data: {"choices":[{"delta":{"content":"one"}}]}\n\n'
    b'data:{"choices":[{"delta":{"reasoning_content":"two"}}]}\r\n\r\n'
    b'data: {"choices":[{"text":"three"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":3,'
    b'"prompt_tokens_details":{"cached_tokens":8}}}\n\n'
    b"data: [DONE]\n\n"
)


@pytest.mark.parametrize("seed", range(5))
def test_a_stream_is_read_however_it_is_cut(seed: int) -> None:
    random, now, noted = Random(seed), [0.0], list[float]()
    answer = StreamedAnswer(lambda: now[0], noted.append)
    rest = STREAM
    while rest:
        now[0] += 1.0
        count = random.randint(1, 40)
        answer.take(200, rest[:count])
        rest = rest[count:]
    answer.end(200)
    assert answer.error is None
    assert len(answer.times) == 3
    assert answer.times == sorted(answer.times) == noted
    assert answer.usage is not None
    assert (answer.usage.completion_tokens, answer.usage.cached_tokens) == (3, 8)


@pytest.mark.parametrize(
    ("status", "data", "error"),
    [
        (200, STREAM[:-14], "no end"),
        (200, b"data: nonsense\n\ndata: [DONE]\n\n", "none"),
        (200, b'data: {"error":{"message":"engine\\ndied"}}\n\ndata: [DONE]\n\n', "engine died"),
        (200, b"x" * (1 << 21), "without an end"),
        (429, b'{"error":{"message":"too many"}}', "429: too many"),
        (502, b"<html>bad gateway</html>", "502: <html>bad gateway"),
        (503, b"", "503: nothing is said"),
    ],
)
def test_a_stream_that_is_not_whole_is_an_error(status: int, data: bytes, error: str) -> None:
    answer = StreamedAnswer(lambda: 0.0, lambda _: None)
    answer.take(status, data)
    answer.end(status)
    assert error in str(answer.error)
    assert len(str(answer.error)) < 300


def test_prompts_have_the_wanted_length_and_are_unlike() -> None:
    measure = measured(32, 10 + 48, 160, 10 + 240)
    assert measure == Measure(tokens_per_word=1.5, tokens_around=10.0)
    prompts = Prompts(measure, 310, 0, seed=1)
    texts = [prompts.next() for _ in range(50)]
    assert {len(text.split()) for text in texts} == {200}
    assert len({" ".join(text.split()[:4]) for text in texts}) == 50
    assert texts[0] == Prompts(measure, 310, 0, seed=1).next()
    assert len(WORDS) == len(set(WORDS))


def test_prompts_share_what_they_are_to_share_and_no_more() -> None:
    prompts = Prompts(Measure(1.0, 0.0), 100, 60, seed=1)
    first, second = (prompts.next().split() for _ in range(2))
    assert first[:60] == second[:60]
    assert first[60:64] != second[60:64]
    assert len(first) == 100


def record(sent_at: float, times: list[float], *, error: str | None = None) -> Record:
    usage = Usage(prompt_tokens=100, completion_tokens=4)
    return Record(sent_at, times[-1] if times else sent_at, times, usage, error)


def test_figures_are_those_of_whole_answers_in_the_window() -> None:
    window = Window(opened_at=0.0, closes_at=2.0)
    records = [record(0.1, [0.2, 0.3, 0.4, 0.5]), record(0.5, [0.7, 0.9, 1.1, 1.3])]
    for each in records:
        window.whole += 1
        for at in each.times:
            window.note_piece(at)
    window.note_piece(2.5)
    failed = record(0.6, [0.7], error="the answer broke off")
    outcome = Outcome(2, window, [*records, failed], ["503: full"], cpu_s=1.9, late_s=[0.001] * 99)
    found = summary_of(outcome, WANTED)
    assert (found.requests, found.failures) == (2, {"503: full": 1, "the answer broke off": 1})
    assert (found.requests_per_s, found.output_tokens_per_s) == (1.0, 4.0)
    assert found.ttft_ms is not None
    assert found.ttft_ms.p50 == pytest.approx(100.0)
    assert found.ttft_ms.p99 == pytest.approx(200.0)
    assert found.inter_token_ms is not None
    assert found.inter_token_ms.p50 == pytest.approx(100.0)
    assert found.generator_cpu_share == 0.95
    told = "\n".join(lines([found]))
    assert "2 requests failed" in told
    assert "95% of a core and was the bottleneck" in told
    assert "1 times 503: full" in told
    assert "p99 of 2 requests is their slowest" in told


def test_what_limits_the_figures_is_said() -> None:
    window = Window(opened_at=0.0, closes_at=1.0)
    plain = Record(0.0, 0.5, [0.1, 0.5], None, None)
    found = summary_of(Outcome(1, window, [plain] * 200, late_s=[0.05] * 9), WANTED)
    told = " / ".join(found.notes)
    assert "does not count tokens" in told
    assert "50 ms late" in told
    assert "after 2 of 4 tokens" in told
    assert "slowest" not in told
    several = Usage(prompt_tokens=150, completion_tokens=4)
    lumpy = Record(0.0, 0.5, [0.1], several, None)
    found = summary_of(Outcome(1, window, [lumpy] * 200, host_cpu_share=0.99), WANTED)
    told = " / ".join(found.notes)
    assert "a piece has 4.0 tokens" in told
    assert "prompts had 150 of 100 tokens" in told
    assert "all cores of this host were busy" in told
    nothing = summary_of(Outcome(1, Window(), [], ["no connection"]), WANTED)
    assert "nothing to measure" in nothing.notes[-1]
    assert notes_on(nothing, WANTED, counted=True) == nothing.notes
    assert lines([nothing])[2].split()[:3] == ["1", "0", "1"]


@pytest.mark.parametrize(
    ("values", "from_zero", "ticks", "logarithmic"),
    [
        ([7540.0], True, [0, 2000, 4000, 6000, 8000], False),
        ([0.9, 1.0], False, [0, 0.25, 0.5, 0.75, 1.0], False),
        ([2.0, 900.0], False, [1, 10, 100, 1000], True),
        ([2.0, 900.0], True, [0, 250, 500, 750, 1000], False),
        ([], True, [0, 0.25, 0.5, 0.75, 1.0], False),
        ([0.0], False, [0, 0.25, 0.5, 0.75, 1.0], False),
    ],
)
def test_scales_are_round_and_have_room(
    values: list[float], from_zero: bool, ticks: list[float], logarithmic: bool
) -> None:
    scale = scale_of(values, from_zero=from_zero)
    assert list(scale.ticks) == pytest.approx(ticks)
    assert scale.logarithmic == logarithmic
    assert all(0.0 <= scale.share(value) <= 1.0 for value in values)


def test_the_picture_is_whole_and_quotes_names_safely() -> None:
    window = Window(opened_at=0.0, closes_at=1.0)
    whole = summary_of(Outcome(16, window, [record(0.0, [0.1, 0.2])] * 3), WANTED)
    nothing = summary_of(Outcome(64, Window(), [], ["no connection"]), WANTED)
    for loads in ([whole], [whole, nothing], [nothing]):
        report = Report(datetime(2026, 1, 2, tzinfo=UTC), "http://h/v1", "chat", "<a&b>")
        report.loads.extend(loads)
        text = "".join(ET.fromstring(drawing(report)).itertext())
        assert "<a&b>" in text
        assert "Time to first token, ms" in text
    assert "nothing was measured" in text


def test_the_server_is_an_address_and_its_key_is_told_to_it_alone() -> None:
    server = Server.at("http://[::1]:80/v1/", "secret")
    assert (server.host, server.port, server.path) == ("::1", 80, "/v1")
    request = server.request("/chat/completions", {"a": "é"})
    assert b"POST /v1/chat/completions HTTP/1.1\r\nhost: [::1]:80\r\n" in request
    assert b"authorization: Bearer secret\r\n" in request
    assert b"content-length: 14\r\n" in request
    assert "secret" not in server.url
    assert Server.at("https://api.example/v1", None).port == 443
    for url in ("nonsense", "http://", "ftp://host/v1", "http://me:secret@host/v1", "http://h:x"):
        with pytest.raises(BadUrl) as refused:
            Server.at(url, None)
        assert "secret" not in str(refused.value)


def test_errors_of_any_form_are_one_line() -> None:
    assert said_of_error(b'{"detail": "x"}') == "{'detail': 'x'}"
    assert said_of_error(b'{"error": "plain"}') == "plain"
    assert said_of_error(b"[1]") == "[1]"
