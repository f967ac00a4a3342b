"""One trace covers a video from the request that asked for it to the provider that made it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway.jobs import sending as sending_module
from gateway.jobs.looks import observe
from gateway.jobs.settle import settle
from gateway.jobs.submit import submit
from gateway.observe import traces
from gateway.spec import Failed, Succeeded, Ticket

from .conftest import World

SECRET_PROMPT = "a canary on a red circle"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    traces.start_tracing(SimpleSpanProcessor(exporter))
    yield exporter
    traces.stop_tracing()


def _accepted(world: World, **options: object) -> str:
    with traces.span("POST /v1/videos", kind="server"):
        return world.accept(
            prompt=SECRET_PROMPT, seconds="2", options={"echo_remote": {"latency_ms": 0, **options}}
        )


def test_one_trace_from_the_request_to_the_providers_work(world: World, spans: InMemorySpanExporter) -> None:
    video_id = _accepted(world)
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    ticket = Ticket.model_validate(world.attempt(video_id).ticket)
    adapter = world.runtime.registry.remote(attempt.adapter, attempt.account)
    seen = world.runtime.io.run(adapter.poll(ticket))
    assert isinstance(seen, Succeeded)
    observe(world.runtime, attempt.id, seen)
    settle(world.runtime, attempt.id)
    assert world.video(video_id).status == "completed"
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {
        "POST /v1/videos",
        "submit",
        "provider.submit",
        "deliver",
        f"generate_content {attempt.model}",
    }
    assert len({span.context.trace_id for span in found.values()}) == 1
    request = found["POST /v1/videos"].context.span_id
    assert {found[name].parent.span_id for name in ("submit", "deliver")} == {request}
    assert found["provider.submit"].parent.span_id == found["submit"].context.span_id
    made = found[f"generate_content {attempt.model}"]
    assert dict(made.attributes) == {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.output.type": "video",
        "gen_ai.request.model": attempt.model,
        "gen_ai.provider.name": attempt.adapter,
        "reelgate.video_id": video_id,
        "reelgate.attempt_id": attempt.id,
        "reelgate.size": attempt.size,
        "reelgate.clip_ms": 2000,
        "reelgate.state": "succeeded",
        "reelgate.cost_micro_usd": 20_000,
    }
    assert SECRET_PROMPT not in "".join(span.to_json() for span in found.values())


def test_a_failure_is_told_in_the_same_trace(world: World, spans: InMemorySpanExporter) -> None:
    video_id = _accepted(world)
    attempt = world.attempt(video_id)
    submit(world.runtime, attempt.id)
    failed = Failed(code="provider_failed", message="It failed.", user_fault=True)
    observe(world.runtime, attempt.id, failed)
    settle(world.runtime, attempt.id)
    found = {span.name: span for span in spans.get_finished_spans()}
    made = found[f"generate_content {attempt.model}"]
    assert made.parent.span_id == found["close"].context.span_id
    assert made.attributes["reelgate.state"] == "failed"
    assert not made.status.is_ok
    assert len({span.context.trace_id for span in found.values()}) == 1


def test_each_try_of_a_submit_is_shown(
    world: World, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending_module, "_wait", lambda state: 0.0)
    video_id = _accepted(world, fail="submit")
    submit(world.runtime, world.attempt(video_id).id)
    tries = [span for span in spans.get_finished_spans() if span.name == "provider.submit"]
    assert [dict(span.attributes or {}) for span in tries] == [
        {"gen_ai.provider.name": "echo_remote", "error.type": "Unavailable"}
    ] * sending_module.TRIES
