"""Exit codes are a promise to scripts; errors say what to do, and never with a traceback."""

from __future__ import annotations

import re
from typing import Any

import pytest
import sqlalchemy as sa

from gateway.api.errors import ApiError
from gateway.cli import exits
from gateway.cli._failures import told
from gateway.cli.exits import CliError, ExitCode
from gateway.jobs.errors import TierTooHigh
from gateway.media import StoreFull
from gateway.routing import UnknownModel
from gateway.settings import SettingsError
from gateway.spec import RenderError


def test_the_table_is_the_enum():
    rows = re.findall(r"^(\d+) +([A-Z_]+) ", exits.__doc__ or "", flags=re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(code.value, code.name) for code in ExitCode]
    assert [code.value for code in ExitCode] == [0, 1, 2, 3, 4, 5, 6, 7, 130]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (CliError(ExitCode.DENIED, "no"), ExitCode.DENIED),
        (SettingsError("port: too large"), ExitCode.CONFIG),
        (ApiError(400, "invalid_value", "no"), ExitCode.USAGE),
        (ApiError(404, "model_not_found", "no"), ExitCode.NOT_FOUND),
        (UnknownModel("veo-9"), ExitCode.NOT_FOUND),
        (TierTooHigh("gold", ("basic",)), ExitCode.DENIED),
        (StoreFull("full"), ExitCode.CONFIG),
        (RenderError("broken"), ExitCode.FAILED),
        (sa.exc.OperationalError("SELECT 1", {}, Exception("disk I/O error")), ExitCode.CONFIG),
        (sa.exc.ArgumentError("no such dialect"), ExitCode.CONFIG),
        (PermissionError(13, "Permission denied", "/data"), ExitCode.CONFIG),
    ],
)
def test_what_a_user_can_mend_has_a_code(error: Exception, code: ExitCode):
    failure = told(error)
    assert failure is not None
    assert failure.code == code
    assert "SELECT" not in failure.message


def test_a_fault_of_our_own_stays_a_traceback():
    assert told(KeyError("bug")) is None
    assert told(AssertionError()) is None


def test_errors_go_to_stderr_and_json_alone_to_stdout(cli: Any):
    plain = cli("models", "veo-9")
    assert (plain.code, plain.out) == (4, "")
    assert plain.err.startswith("error: There is no model 'veo-9'")
    as_json = cli("models", "veo-9", "--json")
    assert as_json.code == 4
    assert as_json.json["error"]["code"] == "not_found"
    assert as_json.err == plain.err


def test_broken_settings_are_named(cli: Any, data_dir: Any):
    (data_dir / "config.yaml").write_text("prot: 1\n")
    ran = cli("models")
    assert ran.code == 3
    assert "prot" in ran.err
    assert "Traceback" not in ran.err


def test_a_database_that_cannot_be_reached(cli: Any, tmp_path: Any):
    ran = cli("usage", REELGATE_DATABASE_URL=f"sqlite:///{tmp_path}/none/such.db")
    assert ran.code == 3
    assert "reelgate serve" in ran.err
    assert not (tmp_path / "none").exists()
