"""Muon for the matrices, AdamW for the rest.

Muon (Jordan 2024, kellerjordan.github.io/posts/muon) makes the update of a matrix orthogonal. torch's takes
two dimensions; here a convolution's kernel is the matrix [out, in x kernel]. Updates are scaled to what
AdamW's would be (Liu et al. 2025, arXiv 2502.16982), so that one learning rate serves both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import nn

_MATRICES = (nn.Linear, nn.Conv2d, nn.Conv3d)


class MatrixOptimizer:
    """Of all parameters of ``modules`` that ask for a gradient."""

    def __init__(self, modules: Iterable[nn.Module], rate: float, decay: float = 0.01) -> None:
        parts = [part for module in modules for part in module.modules()]
        self._matrices = [
            part.weight for part in parts if isinstance(part, _MATRICES) and part.weight.requires_grad
        ]
        known = {id(weight) for weight in self._matrices}
        self._others: list[nn.Parameter] = []
        for weight in (weight for part in parts for weight in part.parameters(recurse=False)):
            if weight.requires_grad and id(weight) not in known:
                known.add(id(weight))
                self._others.append(weight)
        # The same memory, seen as matrices.
        self._flat = [nn.Parameter(weight.detach().flatten(1)) for weight in self._matrices]
        self._both: dict[str, torch.optim.Optimizer] = {
            "muon": torch.optim.Muon(self._flat, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw"),
            "adam": torch.optim.AdamW(self._others, lr=rate, betas=(0.9, 0.98), weight_decay=0.0, fused=True),
        }

    def step(self, rate: float) -> None:
        """Go down the gradients, at a learning rate, and clear them."""
        for flat, weight in zip(self._flat, self._matrices, strict=True):
            flat.grad = None if weight.grad is None else weight.grad.flatten(1)
        for optimizer in self._both.values():
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        for weight in (*self._matrices, *self._others):
            weight.grad = None

    def state(self) -> dict[str, torch.Tensor]:
        """What the next steps depend on, by name."""
        return {
            f"{kind}.{number}.{name}": tensor
            for kind, optimizer in self._both.items()
            for number, state in optimizer.state_dict()["state"].items()
            for name, tensor in state.items()
        }

    def restore(self, tensors: dict[str, torch.Tensor]) -> None:
        """Continue from ``state()``, of the same modules."""
        found: dict[str, dict[int, dict[str, torch.Tensor]]] = {
            kind: defaultdict(dict) for kind in self._both
        }
        for path, tensor in tensors.items():
            kind, number, name = path.split(".")
            found[kind][int(number)][name] = tensor
        for kind, optimizer in self._both.items():
            optimizer.load_state_dict({**optimizer.state_dict(), "state": dict(found[kind])})
