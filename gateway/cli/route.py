"""``reelgate route``: the plan of a request, made in this process and from the same facts as a server's."""

from __future__ import annotations

import typer

from gateway.api.forms import Form
from gateway.api.pictures import check_images
from gateway.api.wire import read_create
from gateway.cli._open import opened_runtime, operator
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit
from gateway.cli._plan import show_plan
from gateway.cli._request import Asked, takes_request
from gateway.cli.exits import ExitCode
from gateway.jobs.accept import dry_run
from gateway.spec import VideoRequest


@takes_request
def command(asked: Asked, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Show how a request would be served, at what price and why; nothing is made.

    No server is needed. Exit code 5 if nothing can serve it.
    """
    with opened_runtime(data_dir) as runtime:
        request = _request(asked, runtime.settings.max_image_bytes)
        plan = dry_run(runtime, operator(runtime), request)
    if as_json:
        emit(plan.model_dump(mode="json"))
    else:
        show_plan(console(), plan)
    if plan.chosen is None:
        raise typer.Exit(ExitCode.REFUSED)


def _request(asked: Asked, max_image_bytes: int) -> VideoRequest:
    """The request as the API would read it from the same fields."""
    sent = read_create(Form(fields=asked.body()))
    images, _ = check_images(sent.images, max_bytes=max_image_bytes)
    return sent.request.model_copy(update={"images": images})
