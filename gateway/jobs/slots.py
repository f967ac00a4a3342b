"""Device slots: one worker process each, started again when it dies, gone when its parent is."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
import sys
import threading
import time
from typing import Any

from gateway.settings import Settings
from gateway.spec import Device

RESTART_AFTER_S = 0.5
RESTART_AT_MOST_S = 5.0
STEADY_S = 10.0
"""A worker that lived this long starts its back-off anew."""

STOP_WITHIN_S = 15.0
log = logging.getLogger(__name__)


def handed(settings: Settings) -> dict[str, Any]:
    """The settings as a slot's worker needs them: the store's secrets in clear, and no pepper."""
    options = {name: value.get_secret_value() for name, value in settings.store_options.items()}
    return {**settings.model_dump(mode="json", exclude={"key_pepper"}), "store_options": options}


def devices_of(settings: Settings) -> list[Device]:
    """Every slot of every pool."""
    return [
        Device(pool=name, slot=number, kind=kind)
        for name, pool in settings.pools.items()
        for number, kind in enumerate(pool.devices)
    ]


class SlotProcess:
    """Keeps one worker process alive until :meth:`stop`."""

    def __init__(self, settings: Settings, device: Device, supervisor: str) -> None:
        self._device = device
        self._task = json.dumps(
            {
                "settings": handed(settings),
                "device": device.model_dump(),
                "supervisor": supervisor,
            }
        )
        self._stopping = threading.Event()
        self._signal = signal.SIGTERM
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(
            target=self._keep, name=f"slot-{device.pool}-{device.slot}", daemon=True
        )

    def start(self) -> None:
        """Start the process, and the thread that keeps it."""
        self._thread.start()

    def ask(self, *, patient: bool) -> None:
        """Ask the process to end, and start no other; ``patient``: after its job, if that is done in time."""
        self._stopping.set()
        self._signal = signal.SIGTERM if patient else signal.SIGINT
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(self._signal)

    def stop(self, *, within_s: float = 0) -> None:
        """Ask, unless that was done, and wait for the end; kill the process if it does not come."""
        if not self._stopping.is_set():
            self.ask(patient=within_s > 0)
        process = self._process
        if process is not None:
            try:
                process.wait(timeout=within_s + STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                log.warning("slot %s did not end in time and is killed", self._name)
                process.kill()
        self._thread.join()

    @property
    def pid(self) -> int | None:
        """The worker's process id while it lives."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def _name(self) -> str:
        return f"{self._device.pool}/{self._device.slot} ({self._device.kind})"

    def _keep(self) -> None:
        wait = RESTART_AFTER_S
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                code = self._run_once()
            except OSError as error:  # no memory or no file descriptor now, perhaps later
                log.error("the worker of slot %s could not be started: %s", self._name, error)
                code = -1
            if self._stopping.is_set():
                return
            log.error("the worker of slot %s died (exit status %s); a new one is started", self._name, code)
            wait = (
                RESTART_AFTER_S if time.monotonic() - begun > STEADY_S else min(wait * 2, RESTART_AT_MOST_S)
            )
            self._stopping.wait(wait)

    def _run_once(self) -> int:
        # the settings travel by stdin, not in the arguments, which every user of the machine can read;
        # stdin then stays open, and its end tells the worker that this process is gone
        self._process = process = subprocess.Popen(
            [sys.executable, "-m", "gateway.jobs.worker"],
            stdin=subprocess.PIPE,
            text=True,
            process_group=0,  # a terminal's Ctrl-C is for this process, which tells its workers itself
        )
        if self._stopping.is_set():  # asked to stop before there was a process to be told
            process.kill()  # it has no settings yet, so nothing to hand back; a signal may be lost on it
        assert process.stdin is not None
        try:
            with process.stdin as pipe:
                pipe.write(self._task + "\n")
                pipe.flush()
                return process.wait()
        except BrokenPipeError:  # raised by the closing too, for what could not be written
            log.error("the worker of slot %s ended before it had its settings", self._name)
            return process.wait()
