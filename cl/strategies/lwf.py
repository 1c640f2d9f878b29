"""Learning without Forgetting."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cl.models.network import Network, frozen_copy
from cl.strategies.functional import distillation
from cl.strategies.plugin import Learner, Plugin
from cl.types import Experience, Kind, Output, Step


@dataclass
class LwF(Plugin):
    """Stay close to the outputs that the previous network gives on the new data, on the classes it knew.

    `strength` ≥ 0 weighs the distillation, 1 is a sane start; `temperature` > 0 softens both distributions.
    Cost: a forward pass of the teacher each step (time × 1.3 to 1.5), one more network in memory.
    When to use it: nothing may be stored, and new data resembles old.
    """

    paper: ClassVar[str] = "Li & Hoiem, 2016: Learning without forgetting"
    traits: ClassVar[frozenset[str]] = frozenset({"anchored"})

    strength: float = 1.0
    temperature: float = 2.0
    teacher: Network | None = field(init=False, default=None, repr=False)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        if self.teacher is None:
            return None
        with torch.no_grad():
            old = self.teacher.to(step.batch.row.device)(step.batch)  # a checkpoint brings it on the CPU

        def distance(kind: Kind, output: Output) -> Tensor:
            spans = learner.store.own_spans(kind, step.experience.index) or [(0, old[kind].raw.shape[1])]
            each = [distillation(output.raw[:, a:b], old[kind].raw[:, a:b], self.temperature) for a, b in spans]
            return torch.stack(each).sum(0)

        return self.strength * step.mean(distance, [kind for kind in step.outputs if kind in old])

    def after_experience(self, learner: Learner, experience: Experience) -> None:
        self.teacher = frozen_copy(learner.network)
