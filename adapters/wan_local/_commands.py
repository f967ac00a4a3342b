"""``reelgate wan``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from adapters.wan_local._evaluate import evaluate
from adapters.wan_local._settings import REPOSITORIES, VARIANTS
from adapters.wan_local._words import AsJson, fail, failing, set_up
from adapters.wan_local.nano.family import MODELS as NANO
from adapters.wan_local.nano.family import find_model
from adapters.wan_local.tiny import Variant, write_tiny

if TYPE_CHECKING:
    from adapters.wan_local.engine.blueprint import Blueprint
    from adapters.wan_local.engine.repack import Packing

app = typer.Typer(no_args_is_help=True)
app.command("eval")(evaluate)


class VariantName(StrEnum):
    """The kinds of Wan 2.2 folder."""

    t2v = "t2v"
    i2v = "i2v"
    ti2v = "ti2v"


class PackingName(StrEnum):
    """How repacked weights are stored."""

    bf16 = "bf16"
    fp8 = "fp8"


@app.callback()
def wan() -> None:
    """Folders of Wan 2.2 weights."""


@app.command()
def tiny(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    variant: Annotated[VariantName, typer.Option(help="What the model makes a video of.")],
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same weights.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Write a complete Wan 2.2 folder with random weights (half a megabyte), to try things out offline."""
    set_up()
    kind: Variant = variant.value
    try:
        write_tiny(folder, kind, seed)
    except OSError as error:
        fail(f"nothing was written: {error}")
    if as_json:
        typer.echo(json.dumps({"folder": str(folder.absolute()), "variant": kind, "seed": seed}))
    else:
        typer.echo(f"wrote a random-weight {kind} folder: {folder}")


@app.command()
def nano(
    model: Annotated[str, typer.Argument(metavar="MODEL", help=f"{', '.join(NANO)}.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    as_json: AsJson = False,
) -> None:
    """Write a trained nano model as a complete Wan 2.2 folder, to use it without the gateway."""
    set_up()
    from adapters.wan_local.nano.assembly import copy_to

    known = find_model(model)
    if known is None:
        fail(f"{model} is no nano model: {', '.join(NANO)} are")
    with failing():
        copy_to(folder, NANO[known])
        found = _look_at(folder)
    if as_json:
        typer.echo(json.dumps({"model": known} | _described(found)))
    else:
        typer.echo(f"wrote {known}: {folder}")


@app.command()
def pull(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help=f"{', '.join(REPOSITORIES)}, or a Hugging Face hub id.")
    ],
    revision: Annotated[str, typer.Option(metavar="COMMIT", help="The full commit hash, 40 digits.")],
    to: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Left out: a folder here, named as the repository.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a Wan 2.2 folder at one commit, check it and pin its files.

    A pull that was broken off goes on where it was when it is run again.
    """
    set_up()
    from adapters.wan_local.engine.hub import download
    from adapters.wan_local.engine.manifest import pin

    repository = {str(name): repository for name, repository in REPOSITORIES.items()}.get(model, model)
    with failing(), _bars() as on_progress:
        found = _look_at(download(repository, revision, into=to or Path(Path(repository).name)))
        needed = {str(name): variant for name, variant in VARIANTS.items()}.get(model, found.folder.family)
        if found.folder.family != needed:
            fail(f"{repository} holds a {found.folder.family} model, and {model} needs {needed}")
        digest = pin(found.folder, on_progress)
    name = next(name for name, variant in VARIANTS.items() if variant == found.folder.family)
    where = found.folder.path.absolute()
    if as_json:
        answer = {"repository": repository, "revision": revision, "model": name}
        typer.echo(json.dumps(answer | _described(found) | {"digest": digest}))
        return
    typer.echo(f"{repository}@{revision} is in {where}. In config.yaml:\n")
    typer.echo(f"plugins:\n  wan_local:\n    folders:\n      {name}: {where}")


@app.command()
def repack(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A Wan 2.2 folder in diffusers format.")],
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder.")],
    dtype: Annotated[PackingName, typer.Option(help="bf16 loads the same bits; fp8 is lossy.")],
    as_json: AsJson = False,
) -> None:
    """Write a folder anew with smaller weights, to start faster: bf16 halves float32, fp8 halves bf16."""
    set_up()
    from adapters.wan_local.engine import repack as engine

    packing: Packing = dtype.value
    with failing(), _bars() as on_progress:
        digest = engine.repack(source, target, packing, on_progress)
        found = _look_at(target)
    if as_json:
        typer.echo(json.dumps({"dtype": packing} | _described(found) | {"digest": digest}))
    else:
        typer.echo(f"wrote {target}: {_gigabytes(sum(found.folder.files.values()))}, digest {digest}")


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A Wan 2.2 folder in diffusers format.")],
    as_json: AsJson = False,
) -> None:
    """Check a folder: its files, configs and headers, and every byte against its manifest. Writes nothing."""
    set_up()
    from adapters.wan_local.engine.manifest import MANIFEST, digest_of, read_manifest, verify

    with failing(), _bars() as on_progress:
        found = _look_at(folder)
        pinned = read_manifest(found.folder) is not None
        digest = digest_of(verify(found.folder, on_progress))
    described = _described(found) | {"digest": digest, "pinned": pinned}
    if as_json:
        typer.echo(json.dumps(described))
        return
    boundary = found.folder.boundary
    experts = "one expert" if boundary is None else f"two experts, boundary {boundary}"
    typer.echo(f"{folder}: {found.folder.family}, {experts}")
    for name, part in found.parts.items():
        kinds = ", ".join(f"{_gigabytes(size)} {kind}" for kind, size in sorted(part.stored_as.items()))
        typer.echo(f"  {name}: {kinds}")
    state = f"as {MANIFEST} says" if pinned else "not pinned yet: the first load does it"
    typer.echo(f"  {len(found.folder.files)} files, digest {digest}, {state}")


def _look_at(folder: Path) -> Blueprint:
    from adapters.wan_local.engine.blueprint import read_blueprint
    from adapters.wan_local.engine.folder import open_folder

    if not folder.is_dir():
        fail(f"{folder}: no such folder; give the folder that holds model_index.json")
    return read_blueprint(open_folder(folder))


def _described(found: Blueprint) -> dict[str, Any]:
    return {
        "folder": str(found.folder.path.absolute()),
        "family": found.folder.family,
        "boundary": found.folder.boundary,
        "bytes": sum(found.folder.files.values()),
        "parts": {name: part.stored_as for name, part in found.parts.items()},
    }


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB" if size >= 10**7 else f"{size / 1e6:.3f} MB"


@contextmanager
def _bars() -> Iterator[Any]:
    """What an engine's ``on_progress`` hears, a bar for each thing that is read; none without a terminal."""
    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    tasks: dict[str, TaskID] = {}
    with Progress(*columns, console=screen, disable=not screen.is_terminal) as bars:

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done, total=total)

        yield show
