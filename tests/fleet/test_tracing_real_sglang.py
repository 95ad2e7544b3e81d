"""SGLang's own spans are part of the trace of the request that they are for."""

from pathlib import Path

import pytest

from tests.fleet.test_tracing import CALLER, TRACE, WHOLE, ask, named
from tests.kit.collector import collecting
from tests.kit.fleet import Fleet
from tests.kit.forks import ONE_THREAD

START_S_MAX = 400.0


@pytest.mark.sglang
@pytest.mark.timeout(500)
def test_sglangs_spans_are_below_the_workers(tmp_path: Path) -> None:
    fleet = Fleet(tmp_path)
    with collecting() as collector:
        try:
            fleet.frontend(env=collector.environment)
            fleet.worker(
                *("--worker-id", "w0", "--canary-wait-time", "0.5"),
                engine="sglang",
                env=ONE_THREAD | collector.environment,
            )
            fleet.wait_for_workers(1, wait_s_max=START_S_MAX)
            model = fleet.get("/v1/models")[1]["data"][0]["id"]
            silent = ask(fleet, {"traceparent": f"00-{'1' * 32}-{CALLER}-00"}, model=model)
            answer = ask(fleet, {"traceparent": f"00-{TRACE}-{CALLER}-01"}, model=model)
            assert (silent.status_code, answer.status_code) == (200, 200)
            of_engine = ("request_process", "prefill_waiting", "prefill_forward", "decode_forward")
            request = f" Req {answer.headers['x-request-id'][:8]}"
            spans = collector.trace(
                TRACE, *WHOLE, *(f"sglang {name}" for name in (*of_engine, request))
            )
            leg = named(spans, "worker generate")
            (root,) = (each for each in spans if (each.service, each.name) == ("sglang", request))
            assert root.parent_id == leg.span_id
            above = {each.span_id: each.parent_id for each in spans}
            for span in (each for each in spans if each.name in of_engine):
                scheduler = above[span.span_id]
                assert above[scheduler] == root.span_id
                assert leg.start <= span.start <= span.end
            # nothing of each token, nor of what is not to be recorded: a silent request, canaries
            everything = collector.wait_for(bool, "any")
            assert "decode_loop" not in {each.name for each in spans}
            assert "1" * 32 not in {each.trace_id for each in everything}
            assert not [each for each in everything if each.name.startswith(" Req HEALTH")]
        finally:
            fleet.stop(wait_s_max=60)
