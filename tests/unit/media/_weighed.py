"""A script: decodes each file of a folder in a child of its own, and says what that cost.

It stands where the process stands from which the gateway's children are forked, and waits for each of them.
"""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import sys
import time
import warnings
from pathlib import Path


def main(script: str, folder: str, max_pixels: int, max_written: int) -> None:
    found = importlib.util.spec_from_file_location("_pixels", script)
    assert found is not None
    assert found.loader is not None
    pixels = importlib.util.module_from_spec(found)
    found.loader.exec_module(pixels)
    warnings.simplefilter("ignore")
    pixels._load_decoders()
    limits = json.dumps({"max_pixels": max_pixels, "max_written": max_written}).encode() + b"\n"
    for path in sorted(Path(folder).iterdir()):
        ours, theirs = socket.socketpair()
        with ours:
            begun = time.perf_counter()
            child = os.fork()
            if child == 0:
                ours.close()
                pixels.answer(theirs)
                os._exit(0)
            theirs.close()
            ours.sendall(limits + path.read_bytes())
            ours.shutdown(socket.SHUT_WR)
            with ours.makefile("rb") as answer:
                told = json.loads(answer.readline() or b"{}")
                answer.read()
        _, _, used = os.wait4(child, 0)
        wall, cpu = time.perf_counter() - begun, used.ru_utime + used.ru_stime
        cost = {"told": told, "wall_s": wall, "cpu_s": cpu, "peak_mb": used.ru_maxrss / 1024}
        print(json.dumps(cost))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
