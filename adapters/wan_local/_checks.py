"""What doctor asks: does torch work, and are the configured folders whole and safe?"""

from __future__ import annotations

import logging
from pathlib import Path

from adapters.wan_local._settings import VARIANTS, RealModel, WanSettings
from adapters.wan_local._weights import missing_extra
from gateway.spec import Check

log = logging.getLogger(__name__)


def make_checks(settings: WanSettings) -> list[Check]:
    """One check of the libraries, and one of each configured folder."""
    named = [("folders", model, where) for model, where in settings.folders.items()]
    named += [("distilled", model, where) for model, where in settings.distilled.items()]
    return [
        Check(name="wan_local: torch and diffusers", run=lambda: _check_torch(settings)),
        *(_folder_check(settings, section, model, where) for section, model, where in named),
    ]


def _check_torch(settings: WanSettings) -> str | None:
    missing = missing_extra()
    if missing:
        return f"{', '.join(missing)} not installed: pip install 'reelgate[wan]'"
    try:
        import diffusers
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library of the wheel does not load here
        return f"installed, but they do not import ({error}): pip install --force-reinstall 'reelgate[wan]'"
    devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    log.info("torch %s and diffusers %s see %s", torch.__version__, diffusers.__version__, devices or "a CPU")
    if settings.real and not devices:
        return (
            f"real weights are configured, but torch {torch.__version__} sees no GPU: "
            "install a torch build for this machine's GPU and driver"
        )
    return None


def _folder_check(settings: WanSettings, section: str, model: RealModel, where: str) -> Check:
    return Check(
        name=f"wan_local: {section}.{model}", run=lambda: _check_folder(settings, section, model, where)
    )


def _check_folder(settings: WanSettings, section: str, model: RealModel, where: str) -> str | None:
    if missing_extra():
        return None  # the check of the libraries says so
    from adapters.wan_local.engine import FolderError
    from adapters.wan_local.engine.blueprint import read_blueprint
    from adapters.wan_local.engine.folder import open_folder
    from adapters.wan_local.engine.manifest import read_manifest

    folder = Path(where).expanduser()
    if section == "folders" and not folder.exists() and model in settings.revisions:
        return None  # a hub id; looking at it would download it
    try:
        found = open_folder(folder)
        read_blueprint(found)
        read_manifest(found)
    except FolderError as error:
        return str(error)
    if found.family != VARIANTS[model]:
        return f"{folder} holds a {found.family} model, and {model} needs {VARIANTS[model]}"
    return None
