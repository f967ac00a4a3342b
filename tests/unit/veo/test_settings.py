"""The operator's section: what is accepted, what is missing, and that no secret shows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adapters.veo import register_adapters
from adapters.veo._adapter import Veo
from adapters.veo._settings import Account, VeoOptions, VeoSettings
from adapters.veo._tokens import ServiceAccount
from gateway.settings import load_settings
from gateway.spec import AccountLimits, NotAuthorised, PluginContext, RemoteAdapter, Unsupported
from tests.unit.veo.conftest import API_KEY, job, offer

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "settings.md"


def veo(folder: Path, **account: Any) -> Veo:
    section = {"veo": {"accounts": {"default": account}}} if account else {}
    (found,) = register_adapters(PluginContext(settings=section, data_dir=folder))
    assert isinstance(found, Veo)
    return found


def ready(adapter: RemoteAdapter, surface: str = "vertex") -> bool:
    return adapter.unready(offer(surface), "standard") is None


@pytest.mark.parametrize("form", ["text", "mapping", "file"])
def test_a_service_account_comes_in_three_forms(tmp_path: Path, service_account: str, form: str) -> None:
    file = tmp_path / "google.json"
    file.write_text(service_account)
    given = {
        "text": {"service_account": service_account},
        "mapping": {"service_account": json.loads(service_account)},
        "file": {"service_account_file": str(file)},
    }[form]
    adapter = veo(tmp_path, **given)
    assert ready(adapter)
    assert not ready(adapter, "gemini_api")


def test_from_the_environment(tmp_path: Path, service_account: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REELGATE_PLUGINS__VEO__ACCOUNTS__DEFAULT__SERVICE_ACCOUNT", service_account)
    monkeypatch.setenv("REELGATE_PLUGINS__VEO__ACCOUNTS__DEFAULT__API_KEY", API_KEY)
    adapter = veo(tmp_path, **load_settings(tmp_path).plugins["veo"]["accounts"]["default"])
    assert ready(adapter)
    assert ready(adapter, "gemini_api")


def test_without_an_account_it_says_what_to_set(tmp_path: Path) -> None:
    adapter = veo(tmp_path)
    assert adapter.accounts == ("default",)
    missing = adapter.unready(offer(), "standard")
    assert missing is not None
    assert missing.code == "no_credentials"
    assert "accounts.default.service_account_file in the section veo" in missing.detail
    assert "REELGATE_PLUGINS__VEO__ACCOUNTS__DEFAULT__SERVICE_ACCOUNT_FILE" in missing.detail
    missing = adapter.unready(offer("gemini_api"), "standard")
    assert missing is not None
    assert "REELGATE_PLUGINS__VEO__ACCOUNTS__DEFAULT__API_KEY" in missing.detail


async def test_an_account_has_the_offers_of_the_surfaces_that_it_has_a_credential_for(
    account: ServiceAccount,
) -> None:
    key = {"api_key": "k"}
    accounts = {
        "cloud": Account(service_account=account),
        "studio": Account.model_validate(key),
        "both": Account(service_account=account, **key),  # type: ignore[arg-type]  # pydantic makes it a secret
    }
    adapter = Veo(VeoSettings(accounts=accounts))
    assert adapter.accounts == ("cloud", "studio", "both")
    either = offer(presets=(*offer().presets, *offer("gemini_api").presets))
    served = {
        name: [account for account in (*accounts, "gone") if adapter.serves(one, account)]
        for name, one in (("vertex", offer()), ("gemini_api", offer("gemini_api")), ("either", either))
    }
    assert served == {"vertex": ["cloud", "both"], "gemini_api": ["studio", "both"], "either": ["both"]}
    assert ready(adapter)
    assert ready(adapter, "gemini_api")
    with pytest.raises(Unsupported, match="nothing was created") as caught:
        await adapter.submit(replace(job(), account="studio"))
    assert "accounts.studio in the section veo has no credential for vertex" in caught.value.operator_detail
    await adapter.aclose()


def test_limits(account: ServiceAccount) -> None:
    adapter = Veo(
        VeoSettings(
            accounts={
                "default": Account(service_account=account),
                "own": Account(service_account=account, concurrent=4, submits_per_s=None),
            }
        )
    )
    assert adapter.limits("default") == AccountLimits(submits_per_s=50 / 60)
    assert adapter.limits("own") == AccountLimits(concurrent=4)


async def test_an_account_that_is_gone_is_no_credential(tmp_path: Path) -> None:
    with pytest.raises(NotAuthorised, match="no account default"):
        await veo(tmp_path).submit(job())


@pytest.mark.parametrize(
    ("change", "about"),
    [
        ({"service_account": "{"}, "not the JSON"),
        ({"service_account": "canary-5e1f"}, "not the JSON"),
        ({"private_key": "canary-5e1f"}, "not an RSA key"),
        ({"private_key": None}, "private_key"),
        ({"project_id": None}, "set project"),
        ({"service_account_file": "/nowhere/google.json"}, "not both"),
        ({"service_account": None, "service_account_file": "/nowhere/google.json"}, "cannot be read"),
        ({"storage_uri": "gs://bucket/no-slash"}, "storage_uri"),
        ({"base_url": "https://proxy.example/"}, "base_url"),
        ({"keys": "canary-5e1f"}, "keys"),
    ],
)
def test_what_is_wrong_is_named_and_not_shown(
    tmp_path: Path, service_account: str, change: dict[str, Any], about: str
) -> None:
    key = json.loads(service_account)
    given: dict[str, Any] = {"service_account": key}
    for name, value in change.items():
        (key if name in key else given)[name] = value
    with pytest.raises(ValueError, match=about) as caught:
        veo(tmp_path, **given)
    assert "canary" not in str(caught.value)
    assert "PRIVATE" not in str(caught.value)


def test_no_secret_is_in_a_repr(service_account: str) -> None:
    settings = VeoSettings.model_validate(
        {"accounts": {"default": {"service_account": service_account, "api_key": API_KEY}}}
    )
    secret = json.loads(service_account)["private_key"].splitlines()[3]
    for shown in (repr(settings), str(settings), settings.model_dump_json()):
        assert API_KEY not in shown
        assert secret not in shown


def test_every_setting_and_option_is_in_the_settings_page() -> None:
    section = DOCS.read_text("utf-8").partition("### veo\n")[2].partition("\n### ")[0]
    names = {"accounts", *Account.model_fields, *VeoOptions.model_fields}
    assert not [name for name in names if f"`{name}`" not in section]
