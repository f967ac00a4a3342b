"""The text encoder's objective of its own: every word that names an actor knows all that is said of it.

Learnt from pictures alone, an encoder of two layers hands on the words of a caption and not which belong
together: "a red circle moving left and a blue star growing" then is as good as any other pairing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as functional
from torch import nn

from adapters.wan_local.training.captions import caption, names
from adapters.wan_local.training.run import Draw
from adapters.wan_local.training.scenes import COLOURS, MOTIONS, SHAPES, Scene, sample_scene
from adapters.wan_local.training.text import Prompts

_CAPTIONS = 128
_TWO = 0.7  # of the captions are of two actors
_NEARNESS = 2.0
_ASKED = {"shape": SHAPES, "colour": tuple(COLOURS), "motion": MOTIONS}


class Reading:
    """Read captions, and say of them what ``near`` says, which a transformer has been taught with."""

    def __init__(self, prompts: Prompts, near: Prompts) -> None:
        self._prompts, self._near = prompts, near
        near.encoder.requires_grad_(False)
        width, answers = prompts.encoder.config.d_model, sum(map(len, _ASKED.values()))
        self._head = nn.Linear(width, answers).to(prompts.encoder.device)
        self._names = torch.tensor(prompts.tokenizer.convert_tokens_to_ids(names()))

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        return {"text_encoder": self._prompts.encoder, "head": self._head}

    def losses(self, draw: Draw) -> dict[str, torch.Tensor]:
        scenes = [sample_scene(draw.rng, two=_TWO) for _ in range(_CAPTIONS)]
        captions = [caption(scene, draw.rng) for scene in scenes]
        said, known = self._prompts(captions), self._near(captions)
        ids, _ = self._prompts.tokenise(captions)
        naming = torch.isin(ids, self._names.to(ids.device))
        answers = self._head(said[:, :-1][naming]).split([len(each) for each in _ASKED.values()], dim=1)
        wrong = [
            functional.cross_entropy(answer, _truth(scenes, attribute).to(answer.device))
            for answer, attribute in zip(answers, _ASKED, strict=True)
        ]
        away = (said - known).square().sum() / known.square().sum()
        return {"reading": torch.stack(wrong).sum(), "away": _NEARNESS * away}


def _truth(scenes: list[Scene], attribute: str) -> torch.Tensor:
    """The answers, in the order of the words: each actor is named by its colour, then by its shape."""
    values = _ASKED[attribute]
    found = [values.index(getattr(actor, attribute)) for scene in scenes for actor in scene.actors]
    return torch.tensor(found).repeat_interleave(2)
