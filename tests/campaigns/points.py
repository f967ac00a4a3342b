"""The named crash points: where a process is killed, as data. Resolved in the processes by ``hook``."""

from __future__ import annotations

from typing import Literal, NamedTuple


class Point(NamedTuple):
    """Kill ``before`` or ``after`` a call of ``target`` (``module:function`` or ``module:Class.method``)."""

    name: str
    target: str
    when: Literal["before", "after"]


POINTS = (
    # accept: in the process that serves the API
    Point("accept.begin", "gateway.jobs.accept:accept", "before"),
    Point("accept.uncommitted", "gateway.jobs.idempotency:remember", "after"),
    Point("accept.unanswered", "gateway.jobs.accept:accept", "after"),
    Point("engine.enqueued", "gateway.jobs.engine:Enqueuer.enqueue", "after"),
    # submit: around the one call that costs money
    Point("submit.claimed", "gateway.jobs.submit:_claim", "after"),
    Point("submit.taken", "adapters.echo._provider:Provider.submit", "after"),
    Point("submit.answered", "adapters.echo._remote:EchoRemote.submit", "after"),
    Point("submit.ticket", "gateway.jobs.adoption:adopt", "before"),
    Point("submit.uncommitted", "gateway.jobs.adoption:adopt", "after"),
    Point("submit.done", "gateway.jobs.submit:submit", "after"),
    Point("submit.unknown", "gateway.jobs.submit:_unknown", "after"),
    Point("submit.found", "adapters.echo._remote:EchoRemote.lookup", "after"),
    # watch
    Point("watch.claimed", "gateway.jobs.watch:Watcher._claim_due", "after"),
    Point("watch.polled", "adapters.echo._remote:EchoRemote.poll", "after"),
    Point("watch.uncommitted", "gateway.jobs.looks:_ended", "after"),
    Point("watch.observed", "gateway.jobs.looks:observe", "after"),
    # render: in the process of a slot
    Point("render.claimed", "gateway.jobs.render:_claim", "after"),
    Point("render.drawn", "adapters.echo._local:EchoLocal.render", "after"),
    Point("render.stored", "gateway.jobs.render:_rendered", "before"),
    Point("render.done", "gateway.jobs.render:_rendered", "after"),
    # checkpoints: stored, named on the attempt, and deleted with its end
    Point("checkpoint.stored", "gateway.jobs.checkpoints:_record", "before"),
    Point("checkpoint.named", "gateway.jobs.checkpoints:_record", "after"),
    Point("checkpoint.kept", "gateway.jobs.checkpoints:keep", "after"),
    Point("checkpoint.drop", "gateway.jobs.checkpoints:drop", "before"),
    # settle
    Point("settle.begin", "gateway.jobs.settle:_fetch_and_store", "before"),
    Point("settle.fetched", "gateway.jobs.settle:_fetch", "after"),
    Point("settle.kept", "gateway.jobs.settle:_keep", "after"),
    Point("settle.stored", "gateway.jobs.settle:_fetch_and_store", "after"),
    Point("settle.charged", "gateway.ledger.entries:charge_and_release", "after"),
    Point("settle.uncommitted", "gateway.jobs.settle:_complete", "after"),
    Point("settle.done", "gateway.jobs.settle:settle", "after"),
    # store
    Point("store.staged", "gateway.media._folder:Folder._stage", "after"),
    Point("store.linked", "gateway.media._folder:Folder._publish", "after"),
    # the ends that bring nothing
    Point("failure.close", "gateway.jobs.failure:close", "before"),
    Point("failure.closed", "gateway.jobs.failure:close", "after"),
    Point("control.stopped", "gateway.jobs.control:stop_video", "after"),
    Point("drain.hand_back", "gateway.jobs.attempts:hand_back", "before"),
    Point("drain.handed_back", "gateway.jobs.attempts:hand_back", "after"),
    Point("parking.released", "gateway.jobs.parking:_release", "after"),
    # recovery itself
    Point("recovery.begin", "gateway.jobs.engine:_recover", "before"),
    Point("recovery.done", "gateway.jobs.engine:_recover", "after"),
    # retention
    Point("sweep.begin", "gateway.jobs.retention:_remove_files", "before"),
    Point("sweep.marked", "gateway.media._folder:Folder.delete", "before"),
    Point("sweep.done", "gateway.jobs.retention:_remove_files", "after"),
)

ON_TERMINATION = frozenset({"drain.hand_back", "drain.handed_back"})
"""Reached only by a process that is told to stop while it works."""

ON_DEATH = frozenset({"recovery.begin", "recovery.done"})
"""Reached only once some other process has died."""

ON_EXPIRY = frozenset({"sweep.begin", "sweep.marked", "sweep.done"})
"""Reached only once videos have expired."""

CONSTANTS = (("gateway.jobs.retention:FIRST_AFTER_S", 2.0), ("gateway.jobs.retention:EVERY_S", 2.0))
"""Set so in the campaign's processes: what happens now and then is to happen all the time."""
