"""Keys for test mode over HTTP: they run on stand-ins, see test mode alone, and count towards nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from gateway.db import now
from gateway.db.keys import NewKey, create_key
from gateway.db.tables import attempts
from gateway.ledger.usage import usage
from gateway.ledger.verify import verify_ledger

from .conftest import Server, running

CLIP = {"prompt": "a cat", "model": "echo-remote", "size": "64x64", "seconds": "1"}


@pytest.fixture(scope="module")
def server(module_database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    with running(module_database_url, folder, sandbox_url="http://127.0.0.1:9") as server:
        yield server


@pytest.fixture(scope="module")
def test_key(server: Server) -> NewKey:
    return _test_key(server)


def _test_key(server: Server, of: NewKey | None = None) -> NewKey:
    with server.runtime.db.write() as connection:
        tenant = (of or server.key).tenant_id
        return create_key(connection, server.runtime.pepper, tenant, name="test", livemode=False)


def _made(server: Server, key: NewKey, **fields: Any) -> dict[str, Any]:
    with server.client(key) as client:
        response = client.post("/v1/videos", json=CLIP | fields)
        assert response.status_code == 200, response.text
        video_id = response.json()["id"]
        assert client.get(f"/v1/videos/{video_id}/events").status_code == 200
        found: dict[str, Any] = client.get(f"/v1/videos/{video_id}").json()
    assert found["status"] == "completed", found["error"]
    return found


def _orders(server: Server, folder: str) -> int:
    bill = server.runtime.settings.data_dir / folder / "echo" / "bill.jsonl"
    return sum('"submit"' in line for line in bill.read_text().splitlines()) if bill.exists() else 0


@pytest.mark.parametrize("model", ["echo-remote", "echo"])
def test_both_kinds_of_adapter_run_on_stand_ins(
    server: Server, test_key: NewKey, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stand_in, rendered = server.runtime.registry.local("echo", "sandbox"), []
    render = stand_in.render

    def watched(job: Any, *more: Any) -> Any:
        rendered.append(_video_of(server, job.tag))
        return render(job, *more)

    monkeypatch.setattr(stand_in, "render", watched)
    assert test_key.secret.startswith("rg_test_")
    real = _orders(server, "")
    made = _made(server, test_key, model=model)
    assert made["livemode"] is False
    assert made["gateway"]["charge_usd"] != "0"
    assert _orders(server, "") == real, "the real provider was asked"
    if model == "echo-remote":
        assert _orders(server, "sandbox") > 0
    else:
        assert rendered == [made["id"]], "the real adapter rendered it"
    with server.client(test_key) as client:
        assert client.get(f"/v1/videos/{made['id']}/content").content[4:8] == b"ftyp"
        plan = client.post("/v1/videos/plan", json=CLIP | {"model": model}).json()
    assert plan["chosen"]["account"] == "sandbox"
    with server.runtime.db.read() as connection:
        assert verify_ledger(connection) == []


def _video_of(server: Server, attempt_id: str) -> str:
    with server.runtime.db.read() as connection:
        query = sa.select(attempts.c.video_id).where(attempts.c.id == attempt_id)
        return str(connection.execute(query).scalar_one())


def test_an_operators_acts_are_not_for_test_mode(server: Server) -> None:
    with server.runtime.db.write() as connection:
        key = create_key(
            connection, server.runtime.pepper, server.key.tenant_id, name="t", admin=True, livemode=False
        )
    with server.client(key) as client:
        looks = [client.get("/v1/reconcile"), client.get("/v1/accounts"), client.get("/v1/usage?tenant=all")]
        looks += [client.post("/v1/accounts/echo_remote/default/reset")]
        looks += [client.post("/v1/reconcile/att_1", json={"action": "release"})]
    assert {(look.status_code, look.json()["error"]["code"]) for look in looks} == {(403, "admin_only")}


def test_each_mode_sees_its_own_videos_alone(server: Server, test_key: NewKey) -> None:
    test, live = _made(server, test_key), _made(server, server.key)
    assert live["livemode"] is True
    for mine, other, key in ((test, live, test_key), (live, test, server.key)):
        with server.client(key) as client:
            listed = {video["id"] for video in client.get("/v1/videos?limit=100").json()["data"]}
            assert mine["id"] in listed
            assert other["id"] not in listed
            at = f"/v1/videos/{other['id']}"
            looks = [client.get(at), client.get(f"{at}/content"), client.get(f"{at}/events")]
            looks += [client.get(f"{at}/lineage"), client.post(f"{at}/finalize"), client.post(f"{at}/cancel")]
            looks += [client.delete(at), client.get(f"/v1/videos?after={other['id']}")]
            assert [look.status_code for look in looks] == [404] * 7 + [400]
            assert client.get(f"/v1/videos/{mine['id']}").status_code == 200


def test_usage_and_budgets_leave_test_mode_out(server: Server) -> None:
    poor = _test_key(server, server.other)
    before = _usage(server, server.key, tenant="all")
    made = _made(server, poor, seconds="2")
    assert made["gateway"]["charge_usd"] == "0.02", "twenty times its tenant's budget"
    assert _usage(server, server.key, tenant="all") == before
    told = _usage(server, poor)
    assert [(row["videos"], row["charge_usd"]) for row in told["data"]] == [(1, "0.02")]
    assert told["livemode"] is False
    with server.runtime.db.read() as connection:
        day = now().date()
        rows = usage(connection, tenant_id=poor.tenant_id, since=day, until=day, livemode=False)
    assert [row.videos for row in rows] == [1]
    with server.client(server.other) as client:
        refused = client.post("/v1/videos", json=CLIP | {"seconds": "2"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "budget_exceeded")


def _usage(server: Server, key: NewKey, **query: str) -> dict[str, Any]:
    with server.client(key) as client:
        told: dict[str, Any] = client.get("/v1/usage", params=query).json()
    return told


def test_an_idempotency_key_is_not_carried_over_between_modes(server: Server, test_key: NewKey) -> None:
    headers = {"idempotency-key": "both"}
    with server.client(server.key) as live, server.client(test_key) as test:
        assert live.post("/v1/videos", json=CLIP, headers=headers).status_code == 200
        again = test.post("/v1/videos", json=CLIP, headers=headers)
    assert (again.status_code, again.json()["error"]["code"]) == (422, "idempotency_key_reused")


def _finalized(client: httpx.Client, video_id: str, **body: Any) -> httpx.Response:
    return client.post(f"/v1/videos/{video_id}/finalize", json=body)


def test_a_preview_is_finalised_once_and_the_price_is_told_first(server: Server, test_key: NewKey) -> None:
    preview = _made(server, test_key, model="echo", mode="preview")
    with server.client(test_key) as client:
        told = _finalized(client, preview["id"], model="echo-remote", seconds="2", dry_run=True).json()
        assert (told["object"], told["continuity"]) == ("video.final_plan", "first_frame")
        assert told["estimate_usd"] == "0.02"
        paid = preview["gateway"]["charge_usd"]
        assert told["preview_charge_usd"] == paid
        assert float(told["difference_usd"]) == pytest.approx(0.02 - float(paid))
        assert len(client.get(f"/v1/videos/{preview['id']}/lineage").json()["data"]) == 1

        made = _finalized(client, preview["id"], model="echo-remote", seconds="2")
        assert made.status_code == 200, made.text
        assert "idempotent-replayed" not in made.headers
        again = _finalized(client, preview["id"], model="echo")
        assert again.headers["idempotent-replayed"] == "true"
        assert again.json()["id"] == made.json()["id"]
        client.get(f"/v1/videos/{made.json()['id']}/events")
        line = client.get(f"/v1/videos/{made.json()['id']}/lineage").json()
    assert [video["id"] for video in line["data"]] == [preview["id"], made.json()["id"]]
    assert line["lineage_id"] == preview["id"]
    final = line["data"][1]
    assert final["finalized_from_video_id"] == preview["id"]
    assert final["gateway"]["continuity"] == "first_frame"
    with server.client(test_key) as client:
        assert client.delete(f"/v1/videos/{final['id']}").status_code == 200
        anew = _finalized(client, preview["id"], model="echo-remote")
    assert (anew.status_code, anew.json()["id"] != final["id"]) == (200, True), anew.text
    assert float(line["charge_usd"]) == pytest.approx(0.02 + float(paid))


@pytest.mark.parametrize(
    ("body", "param"),
    [({"prompt": "a dog"}, "prompt"), ({"dry_run": "yes"}, "dry_run"), ({"seconds": "-1"}, "seconds")],
)
def test_what_cannot_be_changed_is_refused_by_name(
    server: Server, test_key: NewKey, body: dict[str, Any], param: str
) -> None:
    preview = _made(server, test_key, model="echo", mode="preview")
    with server.client(test_key) as client:
        refused = client.post(f"/v1/videos/{preview['id']}/finalize", json=body)
    assert refused.status_code == 400, refused.text
    assert refused.json()["error"]["param"] == param


def test_what_is_no_preview_is_refused(server: Server, test_key: NewKey) -> None:
    final = _made(server, test_key)
    with server.client(test_key) as client:
        refused = _finalized(client, final["id"])
        named = _finalized(client, final["id"], model="no-such-model")
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "not_a_preview")
    assert named.status_code == 409
