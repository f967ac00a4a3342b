"""Loaded engines: one per device slot, the last that was used. Needs the extra ``wan`` once it is used."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

from adapters.wan_local._weights import INDEX, Weights
from adapters.wan_local.tiny import Variant, write_tiny
from gateway.spec import BrokenModel, Device, RenderError

if TYPE_CHECKING:
    from adapters.wan_local.engine import WanEngine

Dtype = Literal["float32", "bfloat16"]
_WORTH_LOGGING = 10**9
# diffusers swaps its module for a lazy one while it is imported: a second thread would find names missing.
_IMPORTING = Lock()

log = logging.getLogger(__name__)


def set_up_torch() -> None:
    """Import what takes seconds, and keep its progress bars out of the log."""
    with _IMPORTING:
        import diffusers
        import transformers

        import adapters.wan_local.engine  # noqa: F401  # the import is the work: it loads torch's kernels

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()


def use_one_thread() -> None:
    """Keep torch to one CPU thread: on small weights a second one costs more in waiting than it saves."""
    import torch

    torch.set_num_threads(1)


def write_ours(weights: Weights) -> Path:
    """The folder of weights of our own, written unless it is there. Several workers may try at once.

    Raises:
        BrokenModel: it cannot be written.
    """
    from adapters.wan_local.engine import FolderError
    from adapters.wan_local.nano.assembly import assemble

    where = Path(weights.where)
    try:
        if weights.ours == "nano":
            return assemble(weights.variant, where)
        _write_random(where, weights.variant)
    except (OSError, FolderError) as error:
        raise BrokenModel(
            "This gateway cannot provide its test weights: tell its operator.",
            operator_detail=f"no test weights in {where}: {error}",
        ) from error
    return where


def _write_random(folder: Path, variant: Variant) -> None:
    if (folder / INDEX).is_file():
        return
    try:
        write_tiny(folder, variant)
    except OSError:
        # Another worker's folder, which appears whole or not at all, may have come first.
        if not (folder / INDEX).is_file():
            raise


def _log_progress() -> Callable[[str, int, int], None]:
    """Logs each quarter of what takes a while to read: a part, or the sums of all files."""
    quarters: dict[str, int] = {}

    def report(what: str, done: int, total: int) -> None:
        quarter = 4 * done // total
        if total >= _WORTH_LOGGING and quarter != quarters.get(what, 0):
            quarters[what] = quarter
            log.info("loading, %s: %d%% of %.1f GB", what, 25 * quarter, total / 1e9)

    return report


class Engines:
    """Gives each slot its engine; asking for other weights frees those that the slot held."""

    def __init__(self, dtype: Dtype | None, *, batched_guidance: bool) -> None:
        self._dtype = dtype
        self._batched_guidance = batched_guidance
        self._loaded: dict[Device, tuple[Weights, WanEngine]] = {}
        # Loading switches torch's process-wide defaults for a while, and slots may be threads.
        self._loading = Lock()

    def holds(self, weights: Weights, device: Device) -> bool:
        """True if these weights are loaded for this slot."""
        return device in self._loaded and self._loaded[device][0] == weights

    def get(self, weights: Weights, device: Device) -> WanEngine:
        """The engine on these weights, loaded if it is not the one that the slot used last.

        Raises:
            BrokenModel: missing, damaged, unsafe, or another model's.
            OutOfMemory, RenderError: the device cannot hold it, or is not there.
        """
        if not self.holds(weights, device):
            with self._loading:
                self._evict(device)
                self._loaded[device] = (weights, self._load(weights, device))
        return self._loaded[device][1]

    def _load(self, weights: Weights, device: Device) -> WanEngine:
        set_up_torch()
        from adapters.wan_local._translate import in_the_gateways_words
        from adapters.wan_local.engine import WanEngine

        where = str(write_ours(weights)) if weights.ours else weights.where
        log.info("loading %s onto %s", where, device.kind)
        with in_the_gateways_words(weights.model):
            try:
                engine = WanEngine.load(
                    where,
                    device.kind,
                    self._dtype_on(device),
                    revision=weights.revision,
                    batched_guidance=self._batched_guidance,
                    on_progress=_log_progress(),
                )
            except ValueError as error:
                raise RenderError(
                    "This gateway's device slot cannot run the model: its operator has to mend it.",
                    operator_detail=f"slot {device.pool}/{device.slot}: {error}",
                ) from error
        if engine.model.family != weights.variant:
            raise BrokenModel(
                f"The weights of {weights.model} on this gateway are another model's: tell its operator.",
                operator_detail=f"{where} holds a {engine.model.family} model, and "
                f"{weights.model} needs {weights.variant}",
            )
        return engine

    def _dtype_on(self, device: Device) -> Dtype:
        return self._dtype or ("bfloat16" if device.kind.startswith("cuda") else "float32")

    def _evict(self, device: Device) -> None:
        if self._loaded.pop(device, None) is None:
            return
        import torch

        gc.collect()
        if device.kind.startswith("cuda"):
            torch.cuda.empty_cache()
