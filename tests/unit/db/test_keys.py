"""A key is shown once, kept as a digest, and worth nothing without the pepper."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydantic import SecretStr

from gateway.db import Database
from gateway.db.keys import NewKey, create_key, create_tenant, load_pepper, revoke_key, verify_key
from gateway.db.tables import metadata
from gateway.settings import Settings

from .conftest import Race

PEPPER = b"a test's own pepper"


@pytest.fixture
def key(db: Database) -> NewKey:
    with db.write() as connection:
        tenant = create_tenant(connection, "acme", "pro")
        return create_key(connection, PEPPER, tenant, name="laptop", admin=True)


def _owner(db: Database, secret: str, pepper: bytes = PEPPER) -> str | None:
    with db.read() as connection:
        caller = verify_key(connection, pepper, secret)
    return None if caller is None else caller.tenant


def test_a_key_names_its_tenant_tier_and_rights(db: Database, key: NewKey) -> None:
    with db.read() as connection:
        caller = verify_key(connection, PEPPER, key.secret)
    assert caller is not None
    assert (caller.tenant, caller.tier, caller.admin) == ("acme", "pro", True)
    assert (caller.tenant_id, caller.key_id) == (key.tenant_id, key.id)


def test_under_another_pepper_it_is_nobodys(db: Database, key: NewKey) -> None:
    assert _owner(db, key.secret, b"another pepper") is None


def test_every_truncation_of_it_is_nobodys(db: Database, key: NewKey) -> None:
    assert {_owner(db, key.secret[:length]) for length in range(len(key.secret))} == {None}


def test_every_change_of_one_character_makes_it_nobodys(db: Database, key: NewKey) -> None:
    changed = [
        key.secret[:at] + ("x" if key.secret[at] != "x" else "y") + key.secret[at + 1 :]
        for at in range(len(key.secret))
    ]
    assert {_owner(db, secret) for secret in changed} == {None}


@pytest.mark.parametrize("added", [" ", "\n", "=", "ä", "_"])
def test_nothing_may_be_added_to_it(db: Database, key: NewKey, added: str) -> None:
    assert _owner(db, key.secret + added) is None
    assert _owner(db, added + key.secret) is None


def test_a_revoked_key_is_nobodys_and_is_revoked_once(db: Database, key: NewKey) -> None:
    with db.write() as connection:
        assert revoke_key(connection, key.id) is True
        assert revoke_key(connection, key.id) is False
        assert revoke_key(connection, "key_unknown") is False
    assert _owner(db, key.secret) is None


def test_two_keys_of_one_tenant_live_and_die_apart(db: Database, key: NewKey) -> None:
    with db.write() as connection:
        second = create_key(connection, PEPPER, key.tenant_id, name="server")
        revoke_key(connection, key.id)
    assert second.admin is False
    assert (_owner(db, key.secret), _owner(db, second.secret)) == (None, "acme")


def test_the_secret_is_in_no_repr_and_in_no_table(db: Database, key: NewKey) -> None:
    hidden = key.secret.removeprefix("rg_live_").split("_", 1)[1]
    assert hidden not in repr(key)
    with db.read() as connection:
        kept = [row for table in metadata.sorted_tables for row in connection.execute(sa.select(table))]
    assert kept
    assert hidden not in repr(kept)
    assert len(base64.urlsafe_b64decode(hidden + "=")) == 32, "256 bits of it are unknown"


def test_a_second_tenant_of_the_same_name_is_refused(db: Database, key: NewKey) -> None:
    with pytest.raises(sa.exc.IntegrityError), db.write() as connection:
        create_tenant(connection, "acme", "basic")


def test_the_pepper_of_the_settings_wins_and_makes_no_file(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, key_pepper=SecretStr("from the vault"))
    assert load_pepper(settings) == b"from the vault"
    assert list(tmp_path.iterdir()) == []


def test_the_pepper_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    first = load_pepper(settings)
    assert len(bytes.fromhex(first.decode())) == 32
    assert load_pepper(settings) == first
    (file,) = (tmp_path / "secrets").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_two_processes_at_their_first_start_take_the_same_pepper(tmp_path: Path, race: Race) -> None:
    replies = race(f"""
from pathlib import Path
from gateway.db.keys import load_pepper
from gateway.settings import Settings

def go():
    return load_pepper(Settings(data_dir=Path({str(tmp_path)!r}))).decode()
""")
    assert replies[0] == replies[1] != ""
    assert [file.name for file in (tmp_path / "secrets").iterdir()] == ["key_pepper"]
