"""What doctor looks at. Nothing is made or changed."""

from __future__ import annotations

import platform
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TypeVar

import av
import sqlalchemy as sa

from gateway.cli._open import found_database
from gateway.cli.exits import CliError
from gateway.db import now
from gateway.db.accounts import read_accounts
from gateway.db.migrate import current_revision, head_revision
from gateway.db.retired import read_retired
from gateway.jobs.runtime import check_policy, open_registry
from gateway.media import StoreError, open_store
from gateway.registry import Registry
from gateway.routing.notes import retires_soon
from gateway.settings import Settings, SettingsError, load_settings
from gateway.spec import ModelCard

SQLITE_FLOOR = (3, 42)
"""What the durable engine's SQL needs on Python 3.12 and newer (``unixepoch('subsec')``)."""

MIN_FREE_BYTES = 1024**3
"""Less free disk than this is called full: a few clips and their uploads fit in it."""

OUR_PACKAGES = ("gateway", "adapters", "routing_policies")
OURS = "reelgate"
Found = TypeVar("Found")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: ``problem`` says what is wrong and how to mend it, None where all is well."""

    name: str
    problem: str | None = None
    detail: str = ""


class _Wrong(Exception):
    """A check's finding."""


def examine(data_dir: Path | None) -> list[Finding]:
    """Every check, in order; without sound settings only those that need none."""
    findings = [
        _finding("python", lambda: python_and_sqlite(sys.version_info[:2], sqlite3.sqlite_version_info)),
        _finding("packages", lambda: sole_owner(packages_distributions())),
        _finding("video codecs", codecs),
    ]
    try:
        settings = load_settings(data_dir)
    except SettingsError as error:
        return [*findings, Finding(name="settings", problem=str(error))]
    findings += [
        Finding(name="settings", detail=str(settings.data_dir)),
        _finding("database", lambda: database(settings)),
        _finding("store", lambda: store(settings)),
    ]
    return [*findings, *_of_plugins(settings, open_registry(settings))]


def python_and_sqlite(python: Sequence[int], sqlite: Sequence[int]) -> str:
    """The pair of versions that the durable engine needs."""
    if tuple(python) >= (3, 12) and tuple(sqlite) < SQLITE_FLOOR:
        raise _Wrong(
            f"Python {python[0]}.{python[1]} comes with SQLite {sqlite[0]}.{sqlite[1]}, and needs "
            f"{SQLITE_FLOOR[0]}.{SQLITE_FLOOR[1]}: use Python 3.11, a newer SQLite, or Postgres"
        )
    return f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}"


def sole_owner(distributions: Mapping[str, Sequence[str]]) -> str:
    """Nobody else may install the packages we are: their modules would be mixed with ours."""
    for package in OUR_PACKAGES:
        others = sorted(set(distributions.get(package, ())) - {OURS})
        if others:
            raise _Wrong(
                f"{', '.join(others)} installs a package {package!r} over ours: use an environment without it"
            )
    return ""


def codecs() -> str:
    """H.264 can be written and read."""
    try:
        av.codec.Codec("libx264", "w")
        av.codec.Codec("h264", "r")
    except av.error.FFmpegError as error:
        raise _Wrong(
            f"PyAV {av.__version__} has no H.264 ({error}): pip install --force-reinstall av"
        ) from error
    return f"PyAV {av.__version__}, FFmpeg {av.ffmpeg_version_info}"


def database(settings: Settings) -> str:
    """It answers, at this version's revision; that there is none yet is no fault."""
    shown = sa.engine.make_url(settings.database_url).render_as_string(hide_password=True)
    try:
        with found_database(settings) as db:
            at = current_revision(db)
    except CliError:
        return f"none yet, the first start makes it: {shown}"
    except sa.exc.SQLAlchemyError as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        raise _Wrong(f"{shown} does not answer ({cause}): check the address and that it runs") from error
    if at != head_revision():
        raise _Wrong(f"{shown} is at revision {at}, not {head_revision()}: run `reelgate db upgrade`")
    return f"{shown}, revision {at}"


def store(settings: Settings) -> str:
    """It can be used: a folder can be written and its disk has room, a bucket answers."""
    if not settings.store_url:
        return _folder(settings.store_dir)
    try:
        open_store(settings).check()
    except StoreError as error:
        raise _Wrong(f"{settings.store_url}: {error.operator_detail}") from error
    return settings.store_url


def _folder(folder: Path) -> str:
    place = next(parent for parent in (folder, *folder.parents) if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"\0" * 4096)
            probe.flush()
    except OSError as error:
        raise _Wrong(
            f"{place} cannot be written ({error.strerror}): mend that, or name another --data-dir"
        ) from error
    free = shutil.disk_usage(place).free
    if free < MIN_FREE_BYTES:
        raise _Wrong(f"{place} has {free / 2**20:.0f} MiB free: delete videos or enlarge the disk")
    return f"{folder}, {free / 2**30:.0f} GiB free"


def _of_plugins(settings: Settings, registry: Registry) -> Iterator[Finding]:
    for plugin in registry.plugins:
        where = f"plugin {plugin.name}"
        advice = f"{plugin.problem}: mend its settings, update it or uninstall it" if plugin.problem else None
        yield Finding(name=where, problem=advice, detail=f"{plugin.distribution} {plugin.version}".strip())
    for problem in registry.catalog.problems:
        yield Finding(name="catalog", problem=f"{problem.detail} ({problem.code}, from {problem.origin})")
    yield _finding("routing policy", lambda: _policy(settings, registry))
    yield _finding("accounts", lambda: accounts(settings))
    yield _finding("offers", lambda: offers(settings, registry.catalog.cards, now().date()))
    for check in registry.checks:
        yield _finding(check.name, partial(_foreign, check.run))


def accounts(settings: Settings) -> str:
    """No provider account waits for a person."""
    found = _on_record(settings, read_accounts) or {}
    stopped = [
        f"account {one.account} of {one.adapter} takes no jobs ({one.reason}: {one.detail}): mend that, then"
        f" run `reelgate accounts reset {one.adapter} {one.account}`"
        for one in found.values()
        if one.state == "stopped"
    ]
    if stopped:
        raise _Wrong("; ".join(stopped))
    failing = [f"{one.adapter} {one.account}" for one in found.values() if one.state == "open"]
    return f"fail, and are tried again: {', '.join(failing)}" if failing else ""


def offers(settings: Settings, cards: Sequence[ModelCard], today: date) -> str:
    """No offer was found to be gone; with those that end soon."""
    gone = [
        f"{one.offer} is passed over since its provider said on {one.since:%Y-%m-%d} that the model is gone"
        f" ({one.said}): leave it, or run `reelgate offers restore {one.offer}`"
        for one in (_on_record(settings, read_retired) or {}).values()
    ]
    if gone:
        raise _Wrong("; ".join(gone))
    lives = [(card.id, card.lifecycle) for card in cards]
    lives += [(offer.id, offer.lifecycle) for card in cards for offer in card.offers]
    return "; ".join(
        f"{name} retires {when}"
        for name, life in lives
        if not life.retired(today) and (when := retires_soon(life, today)) is not None
    )


def _on_record(settings: Settings, read: Callable[[sa.Connection], Found]) -> Found | None:
    """What the database says; None where it has no word of this version's, which is told elsewhere."""
    try:
        with found_database(settings) as db:
            if current_revision(db) == head_revision():
                with db.read() as connection:
                    return read(connection)
    except (CliError, sa.exc.SQLAlchemyError):
        return None
    return None


def _policy(settings: Settings, registry: Registry) -> str:
    """The policy of the settings exists, and so do the models that its options name."""
    try:
        check_policy(settings, registry)
    except SettingsError as error:
        raise _Wrong(str(error)) from error
    return settings.policy


def _foreign(run: Callable[[], str | None]) -> str:
    problem = run()
    if problem is not None:
        raise _Wrong(problem)
    return ""


def _finding(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name=name, detail=check())
    except _Wrong as wrong:
        return Finding(name=name, problem=str(wrong))
    except Exception as error:  # noqa: BLE001  # a stranger's check may raise anything; the others go on
        return Finding(name=name, problem=f"the check itself failed: {type(error).__name__}: {error}")
