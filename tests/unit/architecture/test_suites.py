"""Every adapter, ours or a stranger's, is run against a contract suite, and our remote ones have doubles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from gateway.registry import load_registry
from gateway.sandbox.inside import fakes_of
from gateway.spec import PluginContext, RemoteAdapter

RECORDER = """
import json
import sys

import pytest

seen = {}


class Recorder:
    def pytest_runtest_teardown(self, item):
        from gateway.kit.testing import LocalAdapterContract, RemoteAdapterContract

        kinds = {RemoteAdapterContract: "remote", LocalAdapterContract: "local"}
        for suite, kind in kinds.items():
            if item.cls and issubclass(item.cls, suite) and "adapter" in item.funcargs:
                seen[item.funcargs["adapter"].name] = kind


one_test_each = ["-k", "test_its_name_may_stand_in_a_url_and_a_log_line", "-p", "no:cacheprovider", "-q"]
code = pytest.main(["tests/contract", *one_test_each], plugins=[Recorder()])
print(json.dumps(seen))
sys.exit(code)
"""


def test_every_registered_adapter_has_a_contract_suite(root: Path, tmp_path: Path) -> None:
    registry = load_registry(PluginContext(settings={}, data_dir=tmp_path))
    assert [plugin for plugin in registry.plugins if plugin.problem] == []
    registered = {
        name: "remote" if isinstance(adapter, RemoteAdapter) else "local"
        for name, adapter in registry.adapters.items()
    }
    assert _tested(root) == registered


def test_every_remote_adapter_of_ours_but_echo_has_a_double(tmp_path: Path) -> None:
    registry = load_registry(PluginContext(settings={}, data_dir=tmp_path))
    ours = {
        name for plugin in registry.plugins if plugin.distribution == "reelgate" for name in plugin.adapters
    }
    remote = {name for name in ours if isinstance(registry.adapters[name], RemoteAdapter)}
    assert len(remote) > 6
    assert remote - {"echo_remote"} == {fake.name for fake in fakes_of(registry)}


def _tested(root: Path) -> dict[str, str]:
    """What the suites' ``adapter`` fixtures make: the adapters' names and kinds."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-c", RECORDER],
        cwd=root,
        env=plain,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, str] = json.loads(done.stdout.splitlines()[-1])
    return found
