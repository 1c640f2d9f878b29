"""Feature distillation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from cl.batches import Output, Step
from cl.plugins.base import Tools
from cl.plugins.shared.taught import Taught
from cl.types import Kind


@dataclass
class FeatureDistillation(Taught):
    """Stay close to the features that the previous network gives the words and texts of the new data.

    `strength` ≥ 0 weighs the squared distance, the mean over the dimensions of a feature; 1 to 100 suits features of
    order 1. The heads are free. Cost: a forward pass of the teacher each step (time × 1.3 to 1.5), one more network
    in memory. When to use it: as LwF, where old classes are too certain on new data for their outputs to say much.
    """

    paper: ClassVar[str] = "Romero et al., 2015: FitNets: hints for thin deep nets"

    strength: float = 1.0

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        if self.teacher is None:
            return None
        old = self.ask(step.batch)

        def distance(kind: Kind, output: Output) -> Tensor:
            difference = output.features - old[kind].features
            return difference.to(output.logits.dtype).square().mean(1)

        return self.strength * step.mean(distance, [kind for kind in step.outputs if kind in old])
