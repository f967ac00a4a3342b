"""The person who looks after the gateway of the remote campaign."""

from __future__ import annotations

import http.client
import sqlite3
import subprocess
import threading
from collections import Counter
from datetime import UTC, datetime, timedelta

import psycopg
from typing_extensions import override

from .deployment import Deployment

LOOK_EVERY_S = 1.0
IN_VAIN = 3
"""So many look-ups that found nothing: whoever could be found has been."""

FAR_OFF = timedelta(seconds=30)
"""An account that is to be tried again later than this is reset like a stopped one."""

PASSING = (
    OSError,
    http.client.HTTPException,
    sqlite3.Error,
    psycopg.Error,
    subprocess.SubprocessError,
)
"""What a gateway that is being killed answers with, its database included."""


class Caretaker(threading.Thread):
    """Resets accounts and restores offers that faults have put out of use, as an operator would.

    And time passes here: what was looked up in vain often enough has its deadline now, not after hours.
    """

    def __init__(self, deployment: Deployment, key: str) -> None:
        super().__init__(name="caretaker", daemon=True)
        self.acts: Counter[str] = Counter()
        self._deployment = deployment
        self._key = key
        self._over = threading.Event()

    @override
    def run(self) -> None:
        """Look until told to stop; what does not answer is asked again."""
        while not self._over.wait(LOOK_EVERY_S):
            try:
                self._act()
            except PASSING:
                continue

    def stop(self) -> None:
        """Stop, and wait for what is being done."""
        self._over.set()
        self.join()

    def _act(self) -> None:
        self._reset_accounts()
        for row in self._deployment.read("SELECT offer FROM retired_offers"):
            self._deployment.cli("offers", "restore", row["offer"])
            self.acts[f"restored {row['offer']}"] += 1
        self._let_time_pass()

    def _reset_accounts(self) -> None:
        soon = f"{datetime.now(UTC) + FAR_OFF:%Y-%m-%d %H:%M:%S}"
        useless = f"state = 'stopped' OR (state = 'open' AND retry_at > '{soon}')"
        accounts = self._deployment.read(f"SELECT adapter, account FROM provider_accounts WHERE {useless}")
        for row in accounts:
            if self._post(f"/v1/accounts/{row['adapter']}/{row['account']}/reset") == 200:
                self.acts[f"reset {row['adapter']} {row['account']}"] += 1

    def _let_time_pass(self) -> None:
        unknown = f"state = 'outcome_unknown' AND tries >= {IN_VAIN} AND settled_at IS NULL"
        if self._deployment.read(f"SELECT 1 FROM attempts WHERE {unknown}"):
            self._deployment.write(
                "UPDATE videos SET deadline_at = created_at WHERE stop_requested_at IS NULL"
                f" AND id IN (SELECT video_id FROM attempts WHERE {unknown})"
            )

    def _post(self, path: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self._deployment.port, timeout=10)
        try:
            connection.request("POST", path, headers={"authorization": f"Bearer {self._key}"})
            return connection.getresponse().status
        finally:
            connection.close()
