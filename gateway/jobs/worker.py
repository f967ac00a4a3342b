"""The process of one device slot (``python -m gateway.jobs.worker``); :mod:`gateway.jobs.slots` starts it."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading

from gateway.jobs.runtime import Runtime
from gateway.log import configure_logging
from gateway.settings import Settings
from gateway.spec import Device

log = logging.getLogger(__name__)


def main() -> None:
    """Work on the slot's queue until told to stop, or until the parent process is gone."""
    task = json.loads(sys.stdin.readline())
    configure_logging()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    threading.Thread(target=_die_with_parent, name="parent", daemon=True).start()
    settings = Settings.model_validate(task["settings"])
    runtime = Runtime.open(settings, supervisor=task["supervisor"])
    runtime.start_slot(Device.model_validate(task["device"]))
    stop.wait()
    runtime.close()


def _die_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)  # at once: what ran is found by its lock and run again elsewhere


if __name__ == "__main__":
    main()
