"""``reelgate models``: the catalogue, and what is ready here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from gateway.api.models import describe_model, read_standing
from gateway.cli._open import opened_runtime
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, table
from gateway.cli.exits import CliError, ExitCode
from gateway.db import now


def command(
    name: Annotated[str | None, typer.Argument(help="One model, by id or alias.", show_default=False)] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """List the models, where each can be had, at what price, and what keeps one from running."""
    with opened_runtime(data_dir) as runtime:
        cards = runtime.registry.catalog.cards
        if name is not None:
            card = runtime.registry.catalog.find(name)
            if card is None:
                near = runtime.registry.catalog.nearest(name)
                hint = f"did you mean {near}?" if near else "`reelgate models` lists them."
                raise CliError(ExitCode.NOT_FOUND, f"There is no model {name!r}: {hint}")
            cards = (card,)
        standing = read_standing(runtime)
        models = [describe_model(runtime, card, now().date(), standing) for card in cards]
    if as_json:
        emit({"data": models})
        return
    columns = ("model", "tasks", "sizes", "seconds", "audio", "offer", "preset", "price", "ready")
    rows = (row for model in models for row in _rows(model))
    console().print(table("Models", columns, rows))


def _rows(model: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """One line per offer and preset; what is the model's own stands on its first line."""
    about = (
        _titled(model),
        ", ".join(task.removesuffix("-to-video") for task in model["tasks"]),
        _sizes(model["sizes"]),
        _seconds(model["durations"]),
        model["audio"],
    )
    ways = [(offer, preset) for offer in model["offers"] for preset in offer["presets"]]
    if not ways:
        yield (*about, "", "", "", "no: nobody offers it")
    for number, (offer, preset) in enumerate(ways):
        ready = "yes" if preset["ready"] else f"no: {preset['unready']['detail']}"
        shown = about if number == 0 else ("",) * len(about)
        yield (*shown, offer["id"], preset["name"], _prices(offer["prices"]), ready)


def _titled(model: Mapping[str, Any]) -> str:
    life = model["lifecycle"]
    notes = [f"also {', '.join(model['aliases'])}"] if model["aliases"] else []
    if model["test_weights"]:
        notes.append("test weights")
    if life["retired_on"]:
        notes.append(f"retires {life['retired_on']}")
    elif life["retires_not_before"]:
        notes.append(f"retires not before {life['retires_not_before']}")
    return "\n".join([model["id"], *(f"  {note}" for note in notes)])


def _sizes(sizes: Mapping[str, Any]) -> str:
    if "step" in sizes:
        return f"{sizes['min']}–{sizes['max']} px"
    return ", ".join(sizes)


def _seconds(durations: Mapping[str, Any]) -> str:
    if durations["values"]:
        return ", ".join(durations["values"])
    return f"{durations['min']}–{durations['max']}"


def _prices(prices: list[Mapping[str, Any]]) -> str:
    """The cheapest line, and how many more there are."""
    if not prices:
        return "unknown"
    if prices[0]["unit"] == "device_second":
        return "device time"
    cheapest = min(prices, key=lambda price: float(price["usd"]) / price["per"])
    per = f"{cheapest['per']:,} {cheapest['unit']}s" if cheapest["per"] > 1 else cheapest["unit"]
    more = "" if len(prices) == 1 else "from "
    return f"{more}${cheapest['usd']}/{per}"
