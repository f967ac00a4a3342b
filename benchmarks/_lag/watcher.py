"""A process with the watcher and nothing else (``reelgate worker --queues watch --slots none``) that counts
its SQL statements: ``watcher.py DATA_DIR FIGURES``, until SIGTERM."""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from gateway.jobs.duties import Duties
from gateway.jobs.runtime import Runtime
from gateway.observe.logs import configure_logging
from gateway.settings import load_settings


def main(data_dir: Path, figures: Path) -> None:
    """Watch until told to end; then write how many statements that took, and in how many seconds."""
    told = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told.set())
    configure_logging()
    runtime = Runtime.open(load_settings(data_dir))
    number, statements, since = count(1), 0, time.monotonic()

    def counted(*_: Any) -> None:
        nonlocal statements
        statements = next(number)

    sa.event.listen(sa.Engine, "before_cursor_execute", counted)
    try:
        runtime.start(Duties(watch=True), role="worker")
        print("watching", flush=True)
        told.wait()
        seen = {"statements": statements, "seconds": time.monotonic() - since}
        figures.write_text(json.dumps(seen))
    finally:
        runtime.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
