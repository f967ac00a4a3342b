"""``python -m adapters.wan_local.training``: the commands the nano family is made with."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer

from adapters.wan_local.training.nano import STAGES
from adapters.wan_local.training.run import OtherSeed, Plan, train

StageName = StrEnum("StageName", list(STAGES))  # type: ignore[misc]  # its members are the stages


def main(
    stage: Annotated[StageName, typer.Argument(help="In this order; vae_48 is for ti2v alone.")],
    folder: Annotated[Path, typer.Option(help="Where the family's parts are.")],
    minutes: Annotated[
        float,
        typer.Option(help="Of steps, those of earlier calls included; what comes before them is extra."),
    ],
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
) -> None:
    """Train a stage of the nano family; the same command goes on with one that was stopped (exit code 1)."""
    name = stage.value
    torch.manual_seed(seed)
    objective = STAGES[name].prepare(folder, seed)
    plan = Plan(seconds=60 * minutes, seed=seed, rate=STAGES[name].rate)
    runs = folder / "runs"
    try:
        report = train(objective, plan, runs / f"{name}.safetensors", typer.echo)
    except OtherSeed as error:
        raise typer.BadParameter(str(error)) from error
    if report is None:
        raise typer.Exit(1)
    report |= STAGES[name].finish(objective, folder)
    told = json.dumps(report, indent=2)
    typer.echo(told)
    (runs / f"{name}.json").write_text(told + "\n", encoding="utf-8")


if __name__ == "__main__":
    typer.run(main)
