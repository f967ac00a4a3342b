"""``reelgate wan eval``."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from adapters.wan_local._options import PresetParams
from adapters.wan_local._words import AsJson, fail, failing, set_up
from adapters.wan_local.nano.family import MODELS, find_model
from gateway.kit.cards import load_cards

if TYPE_CHECKING:
    from adapters.wan_local.engine import WanEngine, WanJob
    from adapters.wan_local.evaluation.exam import Question
    from adapters.wan_local.evaluation.sitting import Arm, Sitting

_CLIPS_OF_A_SHEET = 12


class ExpertsName(StrEnum):
    """Who takes the high-noise and the low-noise steps."""

    right = "right"
    swapped = "swapped"
    high = "high"
    low = "low"


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="nano-t2v, nano-i2v, nano-ti2v, or a folder.")
    ],
    prompts: Annotated[int, typer.Option(min=1, help="How many held-out scenes to ask for.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="The same seed asks the same.")] = 0,
    size: Annotated[int, typer.Option(min=32, help="Width and height in pixels.")] = 64,
    frames: Annotated[int, typer.Option(min=5, help="4n+1.")] = 9,
    steps: Annotated[int | None, typer.Option(min=1, help="Left out: the card's, or official.")] = None,
    guidance: Annotated[float | None, typer.Option(min=1, help="Of both experts; 1 is none.")] = None,
    shift: Annotated[float | None, typer.Option(help="Bend of the noise schedule.")] = None,
    experts: Annotated[ExpertsName, typer.Option(help="Who takes which steps.")] = ExpertsName.right,
    boundary: Annotated[float | None, typer.Option(help="Left out: the folder's own.")] = None,
    ablation: Annotated[
        bool, typer.Option("--ablation", help="Swap the experts, leave one out, move the boundary.")
    ] = False,
    sheet: Annotated[Path | None, typer.Option(help="Write 12 of the clips as a PNG.")] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a model for scenes of moving shapes that it was not trained on, and judge the clips.

    The judge is no network: it clusters colours, compares outlines and follows centres, and is itself judged
    on true clips first. Works for every folder, but says something only of one trained on such scenes.
    """
    set_up()
    from adapters.wan_local.engine import WanEngine, WanJob
    from adapters.wan_local.evaluation.arms import ablated_arms, usual_arms
    from adapters.wan_local.evaluation.exam import ask

    if ablation and (experts is not ExpertsName.right or boundary is not None):
        fail("--ablation tries all experts and boundaries: leave --experts and --boundary out")
    if sheet is not None and not sheet.parent.is_dir():
        fail(f"{sheet.parent} is no folder: --sheet needs one that is there")
    with failing(), _folder_of(model) as folder:
        engine = WanEngine.load(folder, batched_guidance=True)
        family, dense = engine.model.family, engine.model.boundary is None
        if ablation and dense:
            fail(f"{model} has one transformer: there is no expert to leave out")
        job = WanJob(
            prompt="",
            width=size,
            height=size,
            frames=frames,
            seed=seed,
            **_sampling(model, steps=steps, guidance=guidance, shift=shift, dense=dense),
        )
        questions = ask(prompts, seed, size, frames)
        arms = ablated_arms(family) if ablation else usual_arms(family, experts.value, boundary)
        report, sittings = _examine(engine, job, questions, arms)
    if as_json:
        typer.echo(json.dumps({"model": model, "seed": seed, "size": size, "frames": frames} | report))
    else:
        _show(model, report)
    if sheet is not None:
        from adapters.wan_local.evaluation.sheet import make_sheet

        with failing():
            make_sheet(sittings[0].answers[:_CLIPS_OF_A_SHEET]).save(sheet, format="PNG", optimize=True)


@contextmanager
def _folder_of(model: str) -> Iterator[Path]:
    """The folder that ``model`` names, or one of the family put together for as long as it is needed."""
    known = find_model(model)
    if known is None:
        if not Path(model).is_dir():
            fail(f"{model} is neither a folder nor a nano model: {', '.join(MODELS)} are")
        yield Path(model)
        return
    from adapters.wan_local.nano.assembly import assemble

    with tempfile.TemporaryDirectory() as place:
        yield assemble(MODELS[known], Path(place))


def _sampling(
    model: str, *, steps: int | None, guidance: float | None, shift: float | None, dense: bool
) -> dict[str, Any]:
    """What the job says of sampling: what was asked for, else the card's, else nothing: the official."""
    asked = {
        "steps": steps,
        "guidance_high": guidance,
        "guidance_low": None if dense else guidance,
        "shift": shift,
    }
    known = find_model(model)
    usual: dict[str, Any] = {}
    if known is not None:
        offers = load_cards("adapters.wan_local").offers
        params = next(offer for offer in offers if offer.upstream == known).presets[0].params
        usual = PresetParams.model_validate(params).model_dump(exclude={"preview_steps"}, exclude_none=True)
    return usual | {name: value for name, value in asked.items() if value is not None}


def _examine(
    engine: WanEngine, job: WanJob, questions: Sequence[Question], arms: Sequence[Arm]
) -> tuple[dict[str, Any], list[Sitting]]:
    from adapters.wan_local.evaluation import report
    from adapters.wan_local.evaluation.sitting import copy_out, sit, threads

    with _bar() as bar_of:
        sittings = [sit(engine, job, questions, arm, bar_of(arm.name)) for arm in arms]
    copies = report.describe_copies(questions, copy_out(engine, questions))
    found = {
        "prompts": len(questions),
        "combinations": len({question.scene.actors[0] for question in questions}),
        "measured_on": threads(),
        "vae": copies,
        "arms": [report.describe_sitting(sitting) for sitting in sittings],
    }
    return found, sittings


def _show(model: str, report: dict[str, Any]) -> None:
    from adapters.wan_local.evaluation.report import make_table

    console = Console()
    vae = report["vae"]
    rows = [("true clips", vae["oracle"]), ("VAE's copies", vae["right"])]
    rows += [(arm["arm"], arm["right"]) for arm in report["arms"]]
    asked = f"{report['prompts']} prompts of {report['combinations']} held-out combinations"
    title = f"{model}, {asked}: % right (95% interval)"
    console.print(make_table(title, rows))
    console.print(f"VAE: {vae['psnr_db']} dB on the true clips, {vae['lowest_psnr_db']} at least")
    peak = max(arm["peak_bytes"] for arm in report["arms"]) / 2**20
    console.print(f"by clip, {report['measured_on']}; {peak:.0f} MiB at the peak:")
    for arm in report["arms"]:
        kept = arm["first_frame_psnr_db"]
        first = "" if kept is None else f", first frame kept at {kept} dB: only the motion is its own"
        console.print(f"  {arm['arm']}: {arm['seconds']} s{first}")


@contextmanager
def _bar() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """A progress bar for each arm; none without a terminal."""
    screen = Console(stderr=True)
    with Progress(console=screen, disable=not screen.is_terminal) as bars:

        def of(name: str) -> Callable[[int, int], None]:
            task = bars.add_task(name)
            return lambda done, total: bars.update(task, completed=done, total=total)

        yield of
