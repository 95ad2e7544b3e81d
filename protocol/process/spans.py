"""Records spans with OpenTelemetry's SDK, and has a thread of its own send them in batches.

A span is made when it has ended, of times that were taken on the way, and without the SDK's tracer:
that takes 2 µs instead of 33.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource
from opentelemetry.sdk.trace import Event as SdkEvent
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from protocol.process.last_spans import send_last
from protocol.process.log_floods import OnceAMinute
from protocol.process.packaging import VERSION
from protocol.trace_context import TraceContext

Attribute = str | bool | int | float | Sequence[str]
Attributes = Mapping[str, Attribute]
Event = tuple[str, int, Attributes]
"""Is something that happened at a moment: its name, ns since 1970, and attributes."""

_RECORDED: Final = TraceFlags(TraceFlags.SAMPLED)
_NOT_RECORDED: Final = TraceFlags(TraceFlags.DEFAULT)
_UNSET: Final = Status(StatusCode.UNSET)
_COMPLAINING: Final = (
    "opentelemetry.sdk._shared_internal",
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
)
"""Names the loggers that say so, again and again, when a collector is not there."""

log = logging.getLogger(__name__)


class Spans:
    """A Spans says by the standard variables which traces are recorded, and sends their spans.

    Nothing here waits for the collector but `close`. What it does not take is held, as many spans
    as OTEL_BSP_MAX_QUEUE_SIZE says (2,048), and then the oldest are lost.

    Args:
        endpoint: the collector.
        over_http: it takes HTTP, and not gRPC.
        service, instance: name the process among others; OTEL_SERVICE_NAME wins.
    """

    def __init__(self, endpoint: str, *, over_http: bool, service: str, instance: str) -> None:
        self._resource = _resource(service, instance)
        provider = TracerProvider(resource=self._resource, shutdown_on_exit=False)
        self._sampler = provider.sampler
        self._new_trace_id = provider.id_generator.generate_trace_id
        self._new_span_id = provider.id_generator.generate_span_id
        self._scope = InstrumentationScope("kvmesh", VERSION)
        self._processor = BatchSpanProcessor(_exporter(endpoint, over_http=over_http))
        for name in _COMPLAINING:
            logging.getLogger(name).addFilter(OnceAMinute(errors_too=True))
        log.info("spans go to %s over %s", endpoint, "HTTP" if over_http else "gRPC")

    def begin(self, caller: TraceContext | None, name: str) -> TraceContext:
        """Returns what names a new span, the first one of this process in its trace: below that of
        a caller, or in a new trace.
        """
        trace_id = self._new_trace_id() if caller is None else caller.trace_id
        sampled = self._sampler.should_sample(_above(caller), trace_id, name, SpanKind.SERVER)
        return TraceContext(
            trace_id,
            self._new_span_id(),
            sampled.decision.is_sampled(),
            "" if caller is None else caller.tracestate,
        )

    def below(self, parent: TraceContext) -> TraceContext:
        """Returns what names a new span below that one."""
        return replace(parent, span_id=self._new_span_id())

    def add(
        self,
        name: str,
        context: TraceContext,
        parent: TraceContext | None,
        *,
        times_ns: tuple[int, int],
        attributes: Attributes,
        serves: bool = False,
        error: str = "",
        events: Sequence[Event] = (),
    ) -> None:
        """Sends a span that has ended, sooner or later; not one of a trace that is not sampled.

        Args:
            times_ns: of its begin and end, since 1970. It does not end before it begins.
            serves: whether it answers another process.
            error: why it failed; empty if it did not.
        """
        if not context.sampled:
            return
        self._processor.on_end(
            ReadableSpan(
                name,
                _sdk_context(context),
                None if parent is None else _sdk_context(parent, is_remote=serves),
                self._resource,
                attributes,
                [SdkEvent(event, its_own, time_ns) for event, time_ns, its_own in events],
                kind=SpanKind.SERVER if serves else SpanKind.INTERNAL,
                status=Status(StatusCode.ERROR, error) if error else _UNSET,
                start_time=times_ns[0],
                end_time=max(times_ns),
                instrumentation_scope=self._scope,
            )
        )

    def close(self) -> None:
        """Sends what is left, as far as that is done in CLOSE_S_MAX; blocks until then."""
        send_last(self._processor.shutdown)


def _exporter(endpoint: str, *, over_http: bool) -> SpanExporter:
    if over_http:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415

        return OTLPSpanExporter(endpoint=endpoint)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import (  # noqa: PLC0415
        OTLPSpanExporter as GrpcExporter,
    )

    return GrpcExporter(endpoint=endpoint)


def _resource(service: str, instance: str) -> Resource:
    """Returns what all spans of the process say of it."""
    found = Resource.create()
    own = {SERVICE_INSTANCE_ID: instance, "service.version": VERSION}
    if str(found.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        own[SERVICE_NAME] = service
    return found.merge(Resource(own))


def _above(caller: TraceContext | None) -> Context | None:
    """Returns the caller's span as a sampler reads it."""
    if caller is None:
        return None
    return set_span_in_context(NonRecordingSpan(_sdk_context(caller, is_remote=True)), Context())


def _sdk_context(context: TraceContext, *, is_remote: bool = False) -> SpanContext:
    return SpanContext(
        context.trace_id,
        context.span_id,
        is_remote,
        _RECORDED if context.sampled else _NOT_RECORDED,
        TraceState.from_header([context.tracestate]) if context.tracestate else None,
    )
