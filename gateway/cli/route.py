"""``reelgate route``: the plan of a request, made in this process and from the same facts as a server's."""

from __future__ import annotations

from typing import Any

from gateway.api.forms import Form
from gateway.api.pictures import check_images
from gateway.api.wire import read_create
from gateway.cli._open import opened_runtime, operator
from gateway.cli._options import AsJson, DataDir
from gateway.cli._output import console, emit, table
from gateway.cli._plan import show_plan
from gateway.cli._request import Asked, takes_request
from gateway.cli.exits import CliError, ExitCode
from gateway.jobs.accept import dry_run
from gateway.jobs.runtime import Runtime
from gateway.spec import VideoRequest
