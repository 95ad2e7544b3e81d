"""A decode engine on the CPU, whose caches come from SGLang's `fake` backend: out of nothing.

So tokens mean nothing here; what is seen is that legs are taken, run, aborted and ended. Caches
of a prefill engine take a GPU: bench/gpu/disaggregation.
"""

import pytest
from msgspec.structs import replace

from protocol.disaggregation import Bootstrap
from protocol.errors import HandoverFailed
from protocol.replies import Failed
from workers.engine import CANARY_PREFIX, FAKE_BOOTSTRAP_HOST

pytestmark = [pytest.mark.sglang, pytest.mark.timeout(400)]

RUNNING_MAX = 4


@pytest.fixture(scope="module")
def decode(model_dir, start_engine):
    return start_engine(
        *("--model-path", str(model_dir), "--dtype", "float32", "--log-level", "warning"),
        *("--max-total-tokens", "4096", "--max-running-requests", str(RUNNING_MAX)),
        *("--disaggregation-mode", "decode", "--disaggregation-transfer-backend", "fake"),
        *("--disaggregation-decode-retraction-backup", "none", "--grammar-backend", "none"),
    )


@pytest.fixture
def leg(make_request):
    def make(number, prompt=(1, 2, 3), **settings):
        return replace(
            make_request(list(prompt), **settings),
            bootstrap=Bootstrap(FAKE_BOOTSTRAP_HOST, 1, 1_000 + number),
        )

    return make


def test_the_engine_says_that_it_runs_legs_and_tells_of_no_cache(decode):
    facts = decode.facts
    assert (facts.disaggregation_mode, facts.bootstrap) == ("decode", None)
    assert facts.kv_streams == []  # it has no prefix cache, unless it is asked for one


def test_a_leg_generates_as_many_tokens_as_it_is_asked_for(decode, leg, read):
    asked = [leg(number, max_new_tokens=8, ignore_eos=True) for number in range(3 * RUNNING_MAX)]
    for deltas in decode.run(*asked):
        assert len(read.tokens(deltas)) == 8
        finish = read.finish(deltas)
        assert (finish.reason, finish.prompt_tokens, finish.completion_tokens) == ("length", 3, 8)
    assert decode.state()["rids"] == []


def test_legs_are_aborted_wherever_they_are_and_free_their_pages(decode, leg, abort, read):
    asked = [leg(number, range(200), max_new_tokens=800, ignore_eos=True) for number in range(12)]
    decode.send(*asked)
    decode.collect(until=lambda: asked[0].request_id in decode.by_id)  # some run, the others wait
    decode.send(*(abort(request.request_id) for request in asked))
    for deltas in decode.collect(*(request.request_id for request in asked)):
        end = deltas[-1].end
        # SGLang ends what still waits for its cache as a hand-over that failed.
        assert (end.code if isinstance(end, Failed) else end.reason) in (
            "abort",
            HandoverFailed.code,
        )
    assert decode.state()["rids"] == []
    [after] = decode.run(leg(99, max_new_tokens=1))
    assert len(read.tokens(after)) == 1
    [load] = decode.loads()
    assert (load.requests_running, load.requests_waiting) == (0, 0)


def test_a_canary_is_a_leg_too(decode, leg, read):
    asked = leg(5, request_id=f"{CANARY_PREFIX}{1:020x}", max_new_tokens=1)
    [deltas] = decode.run(asked)
    assert read.finish(deltas).reason in ("length", "abort")
