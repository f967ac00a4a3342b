"""Traces: one from an API request over the steps of its job to the provider's work, sent by OpenTelemetry.

Off unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set and the extra ``otel`` is installed: :func:`span` then costs
an ``if``. A trace crosses processes as the ``traceparent`` of a video's row (W3C Trace Context). The tracer
is this module's own and no global one, so that no library adds to it what it knows (headers, bodies).
Attributes are those of ``Attributes``: names, ids and figures, never a prompt, a key or an error's text.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Tracer

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")

Kind = Literal["internal", "server", "client"]

log = logging.getLogger(__name__)


class Attributes(TypedDict, total=False):
    """What a span may say."""

    method: str
    route: str
    status: int
    request_id: str
    video_id: str
    attempt_id: str
    adapter: str
    model: str
    size: str
    clip_ms: int
    state: str
    cost_micro_usd: int | None


_STANDARD = {
    "method": "http.request.method",
    "route": "http.route",
    "status": "http.response.status_code",
    "adapter": "gen_ai.provider.name",
    "model": "gen_ai.request.model",
}
"""OpenTelemetry's names, where it has one; the others go under ``reelgate.``."""

_GENERATES = {"gen_ai.operation.name": "generate_content", "gen_ai.output.type": "video"}

_tracer: Tracer | None = None


def configure_traces() -> bool:
    """Start sending traces, if the environment names where to; True if it does.

    All of OpenTelemetry's own variables apply (``OTEL_SERVICE_NAME``, ``OTEL_TRACES_SAMPLER``, …).
    """
    if not any(os.environ.get(name) for name in ENDPOINTS) or _switched_off():
        return False
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        log.warning("%s is set, but no traces are sent: pip install 'reelgate[otel]'", ENDPOINTS[1])
        return False
    start_tracing(BatchSpanProcessor(OTLPSpanExporter()))
    return True


def start_tracing(processor: SpanProcessor) -> None:
    """Hand every span that ends to ``processor``."""
    global _tracer  # one tracer to a process, as there is one log
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    provider = TracerProvider(resource=Resource.create({} if named else {"service.name": "reelgate"}))
    provider.add_span_processor(processor)
    _tracer = provider.get_tracer("reelgate")


def stop_tracing() -> None:
    """Make no more spans in this process."""
    global _tracer  # see start_tracing
    _tracer = None


def tracing() -> bool:
    """True if spans are made at all."""
    return _tracer is not None


@contextmanager
def span(
    name: str, *, parent: str | None = None, kind: Kind = "internal", **attributes: Unpack[Attributes]
) -> Iterator[None]:
    """A span around the block; inside another one it is its child, else the child of ``parent``.

    An exception that leaves the block marks it as failed, by its type alone. A broken ``parent`` is ignored.
    """
    if _tracer is None:
        yield
        return
    from opentelemetry import trace

    started = _tracer.start_as_current_span(
        name,
        context=_context(parent),
        kind=trace.SpanKind[kind.upper()],
        attributes=_named(attributes),
        record_exception=False,
        set_status_on_exception=False,
    )
    with started as current:
        try:
            yield
        except BaseException as error:
            current.set_status(trace.StatusCode.ERROR)
            current.set_attribute("error.type", type(error).__qualname__)
            raise


def annotate(name: str | None = None, **attributes: Unpack[Attributes]) -> None:
    """Add to the span around the caller what came up since it began; ``name`` renames it."""
    if _tracer is None:
        return
    from opentelemetry import trace

    current = trace.get_current_span()
    current.set_attributes(_named(attributes))
    if name is not None:
        current.update_name(name)
    if attributes.get("status", 0) >= 500:
        current.set_status(trace.StatusCode.ERROR)


def record(
    name: str, *, start: datetime, end: datetime, kind: Kind = "internal", **attributes: Unpack[Attributes]
) -> None:
    """A span of what lies in the past, such as a provider's work that was only looked at now and then."""
    if _tracer is None:
        return
    from opentelemetry import trace

    made = _tracer.start_span(
        name, kind=trace.SpanKind[kind.upper()], attributes=_named(attributes), start_time=_ns(start)
    )
    if attributes.get("state") == "failed":
        made.set_status(trace.StatusCode.ERROR)
    made.end(max(_ns(start), _ns(end)))


def traceparent() -> str | None:
    """The span around the caller as a ``traceparent`` (55 characters), to go on from elsewhere."""
    if _tracer is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def _context(parent: str | None) -> Context | None:
    """The context to start in: the current one if it holds a span, else that of ``parent``."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    if parent is None or trace.get_current_span().get_span_context().is_valid:
        return None
    return TraceContextTextMapPropagator().extract({"traceparent": parent})


def _named(attributes: Attributes) -> dict[str, Any]:
    named: dict[str, Any] = dict(_GENERATES) if "model" in attributes else {}
    for name, value in attributes.items():
        if value is not None:
            named[_STANDARD.get(name, f"reelgate.{name}")] = value
    return named


def _ns(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000) * 1000


def _switched_off() -> bool:
    exporter = os.environ.get("OTEL_TRACES_EXPORTER", "otlp").strip().lower()
    return exporter == "none" or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
