"""What plugins share that hold parameters near old values, each as tightly as it matters to the past."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from cl.strategies.plugin import Learner, Plugin
from cl.strategies.quadratic import Quadratic
from cl.types import Step


@dataclass
class Anchored(Plugin):
    """The term `strength` · ½ Σ A(θ − μ)². What differs is how A is found, and that is for `after_experience`."""

    traits: ClassVar[frozenset[str]] = frozenset({"anchored"})
    grows: ClassVar[str] = "rows of embeddings, for words that come for the first time"

    strength: float = 1.0
    penalty: Quadratic = field(init=False, repr=False, default_factory=Quadratic)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        if not self.penalty.curvature:
            return None
        return step.share(self.strength / 2 * self.penalty(dict(learner.network.named_parameters())))
