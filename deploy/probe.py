"""Ends with 0 if the gateway in this container answers 200 at a path, ``/livez`` or ``/readyz``."""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_S = 4


def answers(path: str) -> bool:
    """Whether the gateway on this host says 200 within the time limit; no proxy is asked."""
    port = int(os.environ.get("REELGATE_PORT") or 8700)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException) as error:
        print(f"127.0.0.1:{port}{path}: {error}", file=sys.stderr)  # noqa: T201  # the engine keeps it as the check's output
        return False
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(0 if answers(sys.argv[1]) else 1)
