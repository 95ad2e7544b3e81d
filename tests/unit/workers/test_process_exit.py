"""The quick way out."""

import subprocess
import sys

from protocol.process.last_spans import CLOSE_S_MAX

_CODE = """
import atexit, threading
from workers.process.exit import leave_process
atexit.register(print, "registered")
threading.Thread(target=threading.Event().wait).start()  # an ordinary end would wait for it
print("unflushed", end=" ")
leave_process(7)
"""

_TRACING = """
import atexit, sys, threading
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from protocol.process import last_spans
from workers.process.exit import leave_process

class Exporter(SpanExporter):
    def export(self, spans):
        print("exporting", flush=True)
        {waits}
        print("exported", len(spans), flush=True)

last_spans.CLOSE_S_MAX = {bound}
atexit.register(print, "registered")
provider = TracerProvider()  # as SGLang makes its own
provider.add_span_processor(BatchSpanProcessor(Exporter()))
trace.set_tracer_provider(provider)
provider.get_tracer("x").start_span("y").end()
leave_process(7)
"""


def _left(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )


def test_what_is_registered_runs_what_is_written_leaves_and_nothing_is_waited_for() -> None:
    done = _left(_CODE)
    assert (done.returncode, done.stdout, done.stderr) == (7, "unflushed registered\n", "")


def test_an_engines_last_spans_are_sent_before_the_end() -> None:
    done = _left(_TRACING.format(waits="", bound=30))
    assert (done.returncode, done.stdout) == (7, "exporting\nexported 1\nregistered\n")


def test_a_collector_that_does_not_answer_an_engine_is_not_waited_for() -> None:
    done = _left(_TRACING.format(waits="threading.Event().wait()", bound=0.2))
    assert (done.returncode, done.stdout) == (7, "exporting\nregistered\n")
    assert "the last spans were not taken" in done.stderr
    assert CLOSE_S_MAX == 2.0  # as docs/tracing.md says
