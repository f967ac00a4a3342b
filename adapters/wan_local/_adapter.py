"""Wan 2.2 as a local adapter."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import ClassVar

from typing_extensions import override

from adapters.wan_local._engines import Engines, set_up_torch, use_one_thread, write_ours
from adapters.wan_local._settings import WanSettings
from adapters.wan_local._weights import (
    Homes,
    all_real_weights,
    find_weights,
    missing_extra,
    nano_weights,
    random_weights,
)
from gateway.spec import (
    Asset,
    BrokenModel,
    Control,
    Device,
    Job,
    LocalAdapter,
    Offer,
    RenderError,
    Unready,
)

log = logging.getLogger(__name__)


class WanLocal(LocalAdapter):
    """Renders with the engine in this folder, on the weights that the operator's settings name."""

    name: ClassVar[str] = "wan_local"

    def __init__(self, settings: WanSettings, data_dir: Path) -> None:
        self._settings = settings
        own = data_dir / "wan_local"
        self._homes = Homes(tiny=settings.tiny_dir or own / "tiny", nano=own / "nano")
        self._engines = Engines(settings.dtype, batched_guidance=settings.batched_guidance)

    @override
    def unready(self, offer: Offer, preset: str) -> Unready | None:
        """Say which setting, folder or package is missing."""
        found = find_weights(self._settings, self._homes, offer, preset)
        return found if isinstance(found, Unready) else None

    @override
    def prepare(self, device: Device) -> None:
        """Import torch; write our own weights, or load the real ones if there is no choice which.

        A slot whose weights do not load starts all the same: its jobs then fail with the reason.
        """
        if missing_extra():
            log.warning("Wan 2.2 cannot run: %s not installed; pip install 'reelgate[wan]'", missing_extra())
            return
        set_up_torch()
        try:
            self._prepare_weights(device)
        except RenderError as error:
            log.error("slot %s/%d: %s", device.pool, device.slot, error.operator_detail)

    @override
    def render(self, job: Job, device: Device, control: Control) -> Asset:
        """Make the clip; ``device_ms`` is the time from prompt to written file, without loading."""
        weights = find_weights(self._settings, self._homes, job.offer, job.preset.name)
        if isinstance(weights, Unready):
            raise BrokenModel(f"{job.offer.model} cannot run on this gateway: {weights.detail}")
        set_up_torch()
        from adapters.wan_local._render import render

        return render(job, weights, self._engines, device, control)

    def _prepare_weights(self, device: Device) -> None:
        if not self._settings.real:
            self._prepare_ours()
            return
        real = all_real_weights(self._settings)
        if len(real) == 1 and device.kind != "cpu":  # the offers of real weights run on GPU pools
            self._engines.get(real[0], device)

    def _prepare_ours(self) -> None:
        log.info(
            "no Wan 2.2 weights are configured: local slots use the nano models, which draw moving shapes "
            "(%s); set plugins.wan_local.folders to use real ones",
            self._homes.nano,
        )
        use_one_thread()
        for weights in nano_weights(self._homes):
            write_ours(weights)
        if self._settings.test_weights:
            log.info("test mode: real models run on random weights (%s)", self._homes.tiny)
            for weights in random_weights(self._homes):
                write_ours(weights)
