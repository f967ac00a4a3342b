"""Spans are off unless configured, hang together, and never say more than names, ids and figures."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.observe import traces
from gateway.observe.traces import (
    annotate,
    configure_traces,
    record,
    span,
    stop_tracing,
    traceparent,
    tracing,
)

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


def named(spans: InMemorySpanExporter, name: str) -> ReadableSpan:
    (found,) = [span for span in spans.get_finished_spans() if span.name == name]
    return found


def said(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_without_configuration_nothing_is_traced_or_loaded() -> None:
    script = (
        "import sys\n"
        "from gateway.observe import traces\n"
        "assert traces.configure_traces() is False\n"
        "with traces.span('x', video_id='v'):\n"
        "    traces.annotate(status=200)\n"
        "    print(traces.traceparent())\n"
        "print(*(name for name in sys.modules if name.startswith('opentelemetry')))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env={})
    assert done.stdout == "None\n\n"


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {ENDPOINT: ""},
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_SDK_DISABLED": "true"},
        {ENDPOINT: "http://127.0.0.1:9", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_it_is_off_without_an_endpoint_or_when_switched_off(
    variables: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*traces.ENDPOINTS, "OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert configure_traces() is False
    assert not tracing()


def test_an_endpoint_without_the_extra_is_told_once_and_nothing_breaks(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with caplog.at_level(logging.WARNING):
        assert configure_traces() is False
    assert "pip install 'reelgate[otel]'" in caplog.text
    with span("x"):
        assert traceparent() is None


def test_an_endpoint_starts_it_and_spans_are_sent_there(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[ReadableSpan] = []
    monkeypatch.setenv(ENDPOINT, "http://127.0.0.1:9")
    monkeypatch.setattr(
        trace_exporter.OTLPSpanExporter, "export", lambda _, batch: sent.extend(batch) or trace.StatusCode.OK
    )
    assert configure_traces() is True
    try:
        with span("x"):
            pass
        provider = traces._tracer.span_processor  # type: ignore[union-attr]  # the SDK's tracer has one
        provider.force_flush()
    finally:
        stop_tracing()
        provider.shutdown()
    assert [span.name for span in sent] == ["x"]
    assert sent[0].resource.attributes["service.name"] == "reelgate"
    assert isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)  # libraries stay silent


def test_a_trace_goes_on_from_a_row(spans: InMemorySpanExporter) -> None:
    with span("request", kind="server"):
        row = traceparent()
    assert row is not None
    assert len(row) == 55

    def elsewhere() -> None:
        with span("step", parent=row, video_id="video_1"), span("call", kind="client"):
            pass

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    request, step, call = (named(spans, name) for name in ("request", "step", "call"))
    assert step.parent is not None
    assert call.parent is not None
    assert (step.parent.span_id, call.parent.span_id) == (request.context.span_id, step.context.span_id)
    assert len({one.context.trace_id for one in (request, step, call)}) == 1
    assert [one.kind.name for one in (request, step, call)] == ["SERVER", "INTERNAL", "CLIENT"]


@pytest.mark.parametrize("parent", [None, "", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_missing_or_broken_parent_starts_a_trace_of_its_own(
    spans: InMemorySpanExporter, parent: str | None
) -> None:
    with span("step", parent=parent):
        pass
    assert named(spans, "step").parent is None


def test_attributes_have_their_standard_names(spans: InMemorySpanExporter) -> None:
    with span("x", adapter="echo", model="echo-remote", attempt_id="att_1"):
        annotate(cost_micro_usd=20_000)
    assert said(named(spans, "x")) == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "video",
        "gen_ai.request.model": "echo-remote",
        "gen_ai.provider.name": "echo",
        "reelgate.attempt_id": "att_1",
        "reelgate.cost_micro_usd": 20_000,
    }


def test_a_failure_is_told_by_its_type_alone(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="a prompt"), span("x"):
        raise ValueError("a prompt, a key")
    failed = named(spans, "x")
    assert not failed.status.is_ok
    assert said(failed) == {"error.type": "ValueError"}
    assert "a prompt" not in failed.to_json()


def test_what_is_past_is_recorded_with_its_own_times(spans: InMemorySpanExporter) -> None:
    begun = datetime(2026, 12, 3, 12, tzinfo=UTC)
    with span("settle"):
        record("generate", start=begun, end=begun + timedelta(seconds=2), state="succeeded")
        record("broken clock", start=begun, end=begun - timedelta(seconds=2), state="failed")
    past = named(spans, "generate")
    assert past.start_time == 1_796_299_200_000_000_000
    assert past.end_time == past.start_time + 2_000_000_000
    assert past.parent is not None
    assert past.parent.span_id == named(spans, "settle").context.span_id
    broken = named(spans, "broken clock")
    assert broken.end_time == broken.start_time
    assert (past.status.is_ok, broken.status.is_ok) == (True, False)
