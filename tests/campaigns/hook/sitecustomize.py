"""Kills the process at a named point. Python runs this at the start of every process that has it on its path.

``CRASH_POINTS`` holds ``[[name, "module:function", "before" | "after"], …]`` as JSON; their functions are
wrapped when their modules are imported; ``CRASH_SET`` likewise ``[["module:NAME", value], …]``, set then.
``CRASH_DIR`` is a folder in which a point is armed by a folder of its name with the tokens ``1`` to ``n``:
each passage of any process takes the highest, and who takes ``1`` is killed at once. So a point can be armed
at any time, and fires once.
"""

from __future__ import annotations

import functools
import importlib.machinery
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

_DIR = os.environ.get("CRASH_DIR", "")
_CONSTANTS: list[tuple[str, Any]] = json.loads(os.environ.get("CRASH_SET", "[]"))


def _pass(name: str) -> None:
    folder = os.path.join(_DIR, name)
    try:
        tokens = sorted(map(int, os.listdir(folder)), reverse=True)
    except FileNotFoundError:
        return  # not armed
    for token in tokens:
        try:
            os.unlink(os.path.join(folder, str(token)))
        except FileNotFoundError:
            continue  # another process took it
        if token == 1:
            _die(name)
        return


def _die(name: str) -> None:
    line = json.dumps({"point": name, "pid": os.getpid(), "at": time.time()}) + "\n"
    file = os.open(os.path.join(_DIR, "log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.kill(os.getpid(), signal.SIGKILL)


def _wrapped(function: Callable[..., Any], name: str, when: str) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def later(*args: Any, **kwargs: Any) -> Any:
            if when == "before":
                _pass(name)
            result = await function(*args, **kwargs)
            if when == "after":
                _pass(name)
            return result

        return later

    @functools.wraps(function)
    def now(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            _pass(name)
        result = function(*args, **kwargs)
        if when == "after":
            _pass(name)
        return result

    return now


def _wrap(module: ModuleType, points: Sequence[Sequence[str]]) -> None:
    for target, value in _CONSTANTS:
        if target.partition(":")[0] == module.__name__:
            setattr(module, target.partition(":")[2], value)
    for name, target, when in points:
        *classes, last = target.partition(":")[2].split(".")
        owner: Any = module
        for part in classes:
            owner = getattr(owner, part)
        setattr(owner, last, _wrapped(getattr(owner, last), name, when))


class _Finder:
    """Finds as the others do, and wraps what a module holds once it is imported."""

    def __init__(self, points: Sequence[Sequence[str]]) -> None:
        self._points: dict[str, list[Sequence[str]]] = {}
        for point in points:
            self._points.setdefault(point[1].partition(":")[0], []).append(point)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._points:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                execute(module)
                _wrap(module, self._points[fullname])

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one import alone
        return spec


if _DIR:
    sys.meta_path.insert(0, _Finder(json.loads(os.environ["CRASH_POINTS"])))
