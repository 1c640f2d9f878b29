"""What plugins share that learn from the previous network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch

from cl.models.network import Network, frozen_copy
from cl.strategies.plugin import Learner, Plugin
from cl.types import Experience, Outputs, Step


@dataclass
class Taught(Plugin):
    """Keeps the network as it was when the previous experience had been learnt: the teacher, in eval mode."""

    traits: ClassVar[frozenset[str]] = frozenset({"anchored"})

    teacher: Network | None = field(init=False, default=None, repr=False)

    def ask(self, step: Step) -> Outputs | None:
        """What the teacher says of the batch, of the kinds that it knows; None before there is one."""
        if self.teacher is None:
            return None
        with torch.no_grad():
            outputs: Outputs = self.teacher.to(step.batch.row.device)(step.batch)  # a checkpoint brings it on the CPU
        return outputs

    def after_experience(self, learner: Learner, experience: Experience) -> None:
        self.teacher = frozen_copy(learner.network)
