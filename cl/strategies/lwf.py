"""Learning without Forgetting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cl.models.network import Network, frozen_copy
from cl.strategies.functional import distillation
from cl.strategies.plugin import Learner, Plugin
from cl.types import Experience, Step


@dataclass
class LwF(Plugin):
    """Stay close to the outputs that the previous network gives on the new data, on the classes it knew.

    `strength` ≥ 0 weighs the distillation, 1 is a sane start; `temperature` > 0 softens both distributions.
    Cost: a forward pass of the teacher each step (time × 1.3 to 1.5), one more network in memory.
    When to use it: nothing may be stored, and new data resembles old.
    """

    paper: ClassVar[str] = "Li & Hoiem, 2016: Learning without forgetting"

    strength: float = 1.0
    temperature: float = 2.0
    teacher: Network | None = field(init=False, default=None, repr=False)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        if self.teacher is None:
            return None
        with torch.no_grad():
            old = self.teacher(step.batch)
        known = [kind for kind in step.outputs if kind in old]
        return self.strength * step.mean(
            lambda kind, output: distillation(output.logits, old[kind].logits, self.temperature), known
        )

    def after_experience(self, learner: Learner, experience: Experience) -> None:
        self.teacher = frozen_copy(learner.network)
