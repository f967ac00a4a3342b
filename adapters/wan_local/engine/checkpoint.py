"""The state of a job between two steps, as bytes that say when they are damaged.

Format 1: the line ``reelgate-wan-checkpoint 1``, the sha256 of the rest as 64 hexadecimal digits and a line
end, then a safetensors file. Its tensors are float32 latents [1, C, T, H, W], the state of the CPU generator
and of the solver; its metadata hold the rest as JSON. At 720p and 81 frames that is about 80 MB.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from adapters.wan_local.engine.errors import CheckpointDamaged, CheckpointMismatch
from adapters.wan_local.engine.schedule import SolverState

_MAGIC = b"reelgate-wan-checkpoint 1\n"
_HEADER = len(_MAGIC) + 65
_SOLVER = "solver."


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """All that the rest of a job depends on. Tensors lie on the CPU.

    Attributes:
        fingerprint: of the model, the job and whatever else the numbers depend on (``fingerprint.py``).
        step: how many steps are done.
        total: how many there are.
        seed: of the job.
        seconds: what these steps took. Prompt and image are encoded again.
        latents: float32 [1, C, T, H, W] after those steps.
        generator: the state of the generator that drew the noise.
        solver: what the solver remembers.
    """

    fingerprint: Mapping[str, str]
    step: int
    total: int
    seed: int
    seconds: float
    latents: torch.Tensor
    generator: torch.Tensor
    solver: SolverState

    def to_bytes(self) -> bytes:
        """The whole of it, to be kept anywhere."""
        tensors = {f"{_SOLVER}{name}": tensor for name, tensor in self.solver.tensors.items()}
        tensors |= {"latents": self.latents, "generator": self.generator}
        said = {
            "fingerprint": dict(self.fingerprint),
            "step": self.step,
            "total": self.total,
            "seed": self.seed,
            "seconds": self.seconds,
            "solver": self.solver.numbers,
        }
        body = save(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            metadata={"job": json.dumps(said)},
        )
        return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Checkpoint:
        """Read what ``to_bytes`` wrote.

        Raises:
            CheckpointDamaged: it is no checkpoint, or not all of it, or other bytes than were written.
        """
        if not data.startswith(_MAGIC):
            raise CheckpointDamaged("the checkpoint does not begin as one of this version does")
        body = memoryview(data)[_HEADER:]
        if hashlib.sha256(body).hexdigest().encode() + b"\n" != data[len(_MAGIC) : _HEADER]:
            raise CheckpointDamaged(
                "the checkpoint is damaged or cut short: its bytes are not those that were written"
            )
        try:
            tensors = load(bytes(body))
            length = int.from_bytes(body[:8], "little")
            said = json.loads(json.loads(bytes(body[8 : 8 + length]))["__metadata__"]["job"])
            solver = {
                name.removeprefix(_SOLVER): tensors[name] for name in tensors if name.startswith(_SOLVER)
            }
            return cls(
                fingerprint=said["fingerprint"],
                step=int(said["step"]),
                total=int(said["total"]),
                seed=int(said["seed"]),
                seconds=float(said["seconds"]),
                latents=tensors["latents"],
                generator=tensors["generator"],
                solver=SolverState(tensors=solver, numbers=said["solver"]),
            )
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise CheckpointDamaged(f"the checkpoint cannot be read ({error})") from error

    def check(self, fingerprint: Mapping[str, str], total: int, shape: torch.Size) -> None:
        """See that work of ``fingerprint``, in ``total`` steps on latents of ``shape``, may go on from here.

        Raises:
            CheckpointMismatch: naming each part that differs.
            CheckpointDamaged: it says of itself what cannot be.
        """
        then = self.fingerprint
        differ = [name for name in {**fingerprint, **then} if then.get(name) != fingerprint.get(name)]
        if differ:
            told = (_difference(name, then.get(name), fingerprint.get(name)) for name in differ)
            raise CheckpointMismatch(f"the checkpoint is of other work: {'; '.join(told)}")
        sound = self.latents.shape == shape and self.latents.dtype == torch.float32
        if not (sound and self.total == total and 0 < self.step <= total):
            raise CheckpointDamaged("the checkpoint contradicts its own fingerprint")


def _difference(name: str, then: str | None, now: str | None) -> str:
    # A digest says no more than that something differs.
    digests = 64 in (len(then or ""), len(now or ""))
    return f"another {name}" if digests else f"{name} was {then}, is {now}"
