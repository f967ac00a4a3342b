"""The process of one device slot (``python -m gateway.jobs.worker``); :mod:`gateway.jobs.slots` starts it."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
from types import FrameType

from gateway.jobs.runtime import Runtime
from gateway.observe.logs import configure_logging
from gateway.observe.traces import configure_traces
from gateway.settings import Settings
from gateway.spec import Device

log = logging.getLogger(__name__)


def main() -> None:
    """Work on the slot's queue until told to stop, or until the parent process is gone.

    SIGTERM lets the job that runs end, if it does within the settings' ``drain_s``; SIGINT hands it back now.
    """
    task = json.loads(sys.stdin.readline())
    configure_logging()
    configure_traces()
    stop, now = threading.Event(), threading.Event()

    def told(number: int, _frame: FrameType | None) -> None:
        if number == signal.SIGINT:
            now.set()
        stop.set()

    signal.signal(signal.SIGTERM, told)
    signal.signal(signal.SIGINT, told)
    threading.Thread(target=_die_with_parent, name="parent", daemon=True).start()
    settings = Settings.model_validate(task["settings"])
    runtime = Runtime.open(settings, supervisor=task["supervisor"])
    runtime.start_slot(Device.model_validate(task["device"]))
    stop.wait()
    if now.is_set():
        runtime.close()
        return
    signal.signal(signal.SIGINT, lambda *_: runtime.hurry())
    runtime.close(finish_within_s=settings.drain_s)


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)  # at once: what ran is found by its lock and run again elsewhere


if __name__ == "__main__":
    main()
