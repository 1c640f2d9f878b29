"""Learning without Forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cl.batches import Output, Step
from cl.plugins.base import Tools
from cl.plugins.maths.losses import distillation
from cl.plugins.shared.taught import Taught
from cl.types import Experience, Kind


@dataclass
class LwF(Taught):
    """Stay close to the outputs that the previous network gives on the new data, on the classes it knew.

    `strength` ≥ 0 weighs the distillation, 1 is a sane start; `temperature` > 0 softens both distributions.
    Cost: a forward pass of the teacher over the new data (over each batch, time × 1.3 to 1.5, beside replay); one more
    network in memory, and a logit a known class for each word of the new data.
    When to use it: nothing may be stored, and new data resembles old.
    """

    paper: ClassVar[str] = "Li & Hoiem, 2016: Learning without forgetting"

    strength: float = 1.0
    temperature: float = 2.0

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        self.ask_ahead(tools)

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        if self.teacher is None:
            return None
        old = self.old_logits(tools, step.batch)

        def distance(kind: Kind, output: Output) -> Tensor:
            spans = tools.store.views.private_spans(kind, step.experience.index) or [(0, old[kind].shape[1])]
            each = [distillation(output.raw[:, a:b], old[kind][:, a:b], self.temperature) for a, b in spans]
            return torch.stack(each).sum(0)

        return self.strength * step.mean(distance, [kind for kind in step.outputs if kind in old])
