"""``reelgate demo``: the main job from one end to the other, on any machine."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.padding import Padding

from gateway.cli._demo_clips import CLIPS, FINAL, REQUESTS, Clip
from gateway.cli._demo_record import Row, read_record
from gateway.cli._demo_server import demo_server, log_tail
from gateway.cli._open import default_tenant, opened_database
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, milliseconds, table
from gateway.cli._plan import summary
from gateway.cli._server import Server, Video
from gateway.cli.exits import CliError, ExitCode
from gateway.db.keys import create_key, load_pepper
from gateway.media import probe
from gateway.settings import Settings, load_settings
from gateway.spec import Plan

LOOK_S = 0.2

PARTS = ("queued_ms", "render_ms", "transfer_ms", "store_ms", "total_ms")
"""The parts of latency that a local render has."""


def command(
    output: Annotated[
        Path, typer.Option("--output", "-o", file_okay=False, help="Where the clips go.")
    ] = Path("demo-out"),
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Make four previews and the final of one, and show how each was routed and recorded.

    The previews are made by the small models that come along, the final by a provider in the sandbox. Starts
    a server of its own on a free port, with a fresh data folder unless one is given, and stops it. Needs no
    key, no GPU and no network. Those models draw moving shapes and nothing else; the sandbox draws its clips.
    """
    begun = time.monotonic()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped then, too
    _forget_deployment()
    screen = Console(quiet=True) if as_json else console()
    output.mkdir(parents=True, exist_ok=True)
    with _data_folder(data_dir) as folder:
        results = _run(screen, folder, output)
    seconds = round(time.monotonic() - begun, 1)
    if as_json:
        emit({**results, "seconds": seconds})
    screen.print(f"\nDone in {seconds} s: {len(CLIPS) + 1} clips in {output}/", style="bold")


@contextmanager
def _data_folder(given: Path | None) -> Iterator[Path]:
    """The folder named, or a fresh one, which stays only when the demo fails: the server's log is in it."""
    if given is not None:
        given.mkdir(parents=True, exist_ok=True)
        yield given.absolute()
        return
    fresh, keep = Path(tempfile.mkdtemp(prefix="reelgate-demo-")), False
    try:
        yield fresh
    except CliError:
        keep = True
        raise
    finally:
        if not keep:
            shutil.rmtree(fresh)


def _forget_deployment() -> None:
    """Drop this deployment's own settings: a demo must not touch its database."""
    for name in [name for name in os.environ if name.startswith("REELGATE_")]:
        del os.environ[name]


def _run(screen: Console, folder: Path, output: Path) -> dict[str, Any]:
    log = folder / "demo-server.log"
    try:
        with demo_server(folder, log) as greeting:
            settings = load_settings(folder)
            with Server(greeting["url"], greeting["key"] or _new_key(settings)) as server:
                return _show(screen, server, settings, output, greeting["url"])
    except CliError as error:
        raise CliError(
            ExitCode.FAILED, f"{error.message}\nThe end of the server's log, {log}:\n{log_tail(log)}"
        ) from error


def _new_key(settings: Settings) -> str:
    """A key for a data folder whose first one was shown long ago."""
    with opened_database(settings) as db, db.write() as connection:
        tenant_id = default_tenant(connection, settings)
        return create_key(connection, load_pepper(settings), tenant_id, name="demo", admin=True).secret


def _show(screen: Console, server: Server, settings: Settings, output: Path, url: str) -> dict[str, Any]:
    screen.print(
        "Reelgate demo: four previews through the HTTP API, made by the local pipeline, and the final"
    )
    screen.print(
        "of one by a provider in the sandbox. The local models are small and draw moving shapes alone;"
    )
    screen.print("what the sandbox sends are test cards.\n")
    screen.print(f"server {url}, data in {settings.data_dir}\n")
    routes = _show_routes(screen, server)
    videos, problems = _show_videos(screen, server, output)
    final, trouble = _show_final(screen, server, videos[0], output)
    videos.append(final)
    problems += trouble
    record, unbalanced = read_record(settings, [video["id"] for video in videos])
    _show_record(screen, record, server.usage("model"))
    screen.print(f"\nledger verify: {'; '.join(unbalanced) or 'every video balances'}")
    problems += unbalanced
    if problems:
        raise CliError(ExitCode.FAILED, "The demo failed: " + "; ".join(problems))
    return {"routes": routes, "videos": videos, "record": record, "ledger_problems": unbalanced}


def _show_routes(screen: Console, server: Server) -> dict[str, Any]:
    """The plans of the opening rule's five kinds of request; nothing is made."""
    plans = {kind: server.plan({"prompt": CLIPS[0].prompt, **fields}) for kind, fields in REQUESTS.items()}
    read = {kind: Plan.model_validate(plan) for kind, plan in plans.items()}
    everywhere = set.intersection(
        *({(way.code, way.model) for way in plan.dropped} for plan in read.values())
    )
    screen.print("How five requests would be routed (POST /v1/videos/plan)", style="bold")
    for kind, plan in read.items():
        screen.print(f"  {kind}: {summary(plan)}")
        for line in _reasons(plan, everywhere):
            screen.print(Padding(line, (0, 0, 0, 6)))
    screen.print("  left out of all five:")
    for line in _by_code(sorted(everywhere)):
        screen.print(Padding(line, (0, 0, 0, 6)))
    screen.print("  retired by today:")
    retired = {way.detail for plan in read.values() for way in plan.dropped if way.code == "retired"}
    for line in sorted(retired):
        screen.print(Padding(line, (0, 0, 0, 6)))
    return plans


def _reasons(plan: Plan, known: Set[tuple[str, str]]) -> Iterator[str]:
    """Why this one, what is to be noted, and what else was left out."""
    if plan.chosen is not None:
        yield f"because: {plan.chosen.reason}"
    for note in plan.notes:
        yield f"note: {note.detail} ({note.code})"
    for line in _by_code((way.code, way.model) for way in plan.dropped if (way.code, way.model) not in known):
        yield f"left out, {line}"


def _by_code(ways: Iterable[tuple[str, str]]) -> Iterator[str]:
    """``no_adapter: one-model, another`` for each reason."""
    models: dict[str, dict[str, None]] = {}
    for code, model in ways:
        models.setdefault(code, {})[model] = None
    for code, names in models.items():
        yield f"{code}: {', '.join(names)}"


def _show_videos(screen: Console, server: Server, output: Path) -> tuple[list[Video], list[str]]:
    """Make, download and decode the clips; returns the videos and what is wrong with them."""
    screen.print("\nFour previews (POST /v1/videos)", style="bold")
    asked = [(clip, server.create(clip.body(_model(server, clip)))) for clip in CLIPS]
    videos, problems = [], []
    for clip, accepted in asked:
        video = _finished(server, accepted)
        file = output / f"{clip.name}.mp4"
        found, good = _received(server, clip, video, file)
        screen.print(f"  {'✓' if good else '✗'} {file}: {clip.title} ({video['model']})")
        screen.print(f"    asked {clip.asked}; decoded {found}", style="" if good else "bold red")
        if not good:
            problems.append(f"{clip.name}: asked {clip.asked}, got {found}")
        videos.append({**video, "file": str(file), "decoded": found})
    return videos, problems


def _show_final(screen: Console, server: Server, preview: Video, output: Path) -> tuple[Video, list[str]]:
    """Approve a preview, see what its final costs more, and have it made."""
    screen.print("\nThe first one is approved (POST /v1/videos/{id}/finalize)", style="bold")
    told = server.plan_final(preview["id"], FINAL)
    screen.print(
        f"  {summary(Plan.model_validate(told['plan']))}; keeps {told['continuity']} of the preview\n"
        f"  preview ${told['preview_charge_usd']}, final ${told['estimate_usd']}:"
        f" ${told['difference_usd']} more"
    )
    video = _finished(server, server.finalize(preview["id"], FINAL))
    file = output / "final.mp4"
    found, good = _received_final(server, video, file)
    line = server.lineage(video["id"])
    about = f"{video['model']}, {video['gateway']['continuity']}, in the sandbox"
    screen.print(f"  {'✓' if good else '✗'} {file}: {about}")
    screen.print(f"    decoded {found}", style="" if good else "bold red")
    paid = " + ".join(f"${one['gateway']['charge_usd']}" for one in line["data"])
    screen.print(f"    both together: {paid} = ${line['charge_usd']}")
    return {**video, "file": str(file), "decoded": found}, [] if good else [f"final: {found}"]


def _received_final(server: Server, video: Video, file: Path) -> tuple[str, bool]:
    """Save the final, and see that it has the size and the length that were planned."""
    if video["status"] == "failed":
        return f"failed, {video['error']['code']}: {video['error']['message']}", False
    server.save(video["id"], file)
    found = probe(file)
    size, seconds = f"{found.width}x{found.height}", found.duration_ms / 1000
    good = size == video["size"] and abs(seconds - float(video["seconds"])) < 0.5
    return f"{size}, {seconds:g} s at {found.fps:g} fps", good


def _model(server: Server, clip: Clip) -> str:
    """The model that the clip's preview plan names at its choice."""
    plan = Plan.model_validate(server.plan(clip.body("auto")))
    models = list(dict.fromkeys(candidate.model for candidate in plan.candidates))
    if len(models) <= clip.choice:
        raise CliError(
            ExitCode.FAILED,
            f"No model can make {clip.name} ({clip.asked}): the demo needs the built-in test weights,"
            " so run it without --data-dir, or on a folder without weights of its own.",
        )
    return models[clip.choice]


def _finished(server: Server, video: Video) -> Video:
    while video["status"] not in ("completed", "failed"):
        server.wait(LOOK_S)
        video = server.video(video["id"])
    return video


def _received(server: Server, clip: Clip, video: Video, file: Path) -> tuple[str, bool]:
    if video["status"] == "failed":
        return f"failed, {video['error']['code']}: {video['error']['message']}", False
    server.save(video["id"], file)
    return clip.check(file)


def _show_record(screen: Console, record: Sequence[Row], usage: Mapping[str, Any]) -> None:
    ways = ("model", "adapter", "preset", "state", "estimate_usd", "cost_usd", "charge_usd")
    money = (tuple(str(row[name]) for name in ways) for row in record)
    screen.print()
    screen.print(table("The SQL record, by attempt: money in US dollars", ways, money))
    times = ((row["model"], *(milliseconds(row["latency"][part]) for part in PARTS)) for row in record)
    columns = ("model", *(f"{part.removesuffix('_ms')}>" for part in PARTS))
    screen.print()
    screen.print(table("The SQL record, by attempt: latency", columns, times))
    rows = [tuple(row.values()) for row in usage["data"]]
    screen.print()
    screen.print(table("Usage (GET /v1/usage)", tuple(usage["data"][0]), rows))
