"""Trained parts made into the family as it is shipped, each model's index and manifest beside them.

    python -m adapters.wan_local.nano.release PARTS

PARTS has a README.md and a folder for each part (``t2v_high``, ``vae_16``, …), as ``save_pretrained`` writes.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from adapters.wan_local.engine.folder import open_folder
from adapters.wan_local.engine.manifest import MANIFEST, pin
from adapters.wan_local.nano.family import CARD, PARTS, WEIGHTS, stored_at
from adapters.wan_local.tiny import Variant, write_index


def release(parts: Path, weights: Path = WEIGHTS) -> None:
    """Write ``weights``, in the place of what was there: what :mod:`assembly` makes folders of.

    Args:
        parts: the trained parts; they may lie in ``weights`` already.

    Raises:
        FolderError: the parts make no folder.
        OSError: a part is missing, or ``weights`` cannot be written.
    """
    weights.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=weights.parent) as place:
        unfinished = Path(place) / "weights"
        for variant in PARTS:
            _release(parts, unfinished, variant, Path(place) / variant)
        shutil.copyfile(parts / CARD, unfinished / CARD)
        if weights.exists():
            weights.replace(Path(place) / "before")
        unfinished.replace(weights)


def _release(parts: Path, weights: Path, variant: Variant, folder: Path) -> None:
    write_index(folder, variant)
    for name, stored in PARTS[variant].items():
        if name != "scheduler":
            shutil.copytree(parts / stored, folder / name)
    found = open_folder(folder)
    pin(found)
    for name in (*found.files, MANIFEST):
        place = stored_at(weights, variant, name)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / name, place)


def main(parts: Annotated[Path, typer.Argument(help="The folder with the trained parts.")]) -> None:
    """Make the trained parts the family that is shipped."""
    release(parts)


if __name__ == "__main__":
    typer.run(main)
