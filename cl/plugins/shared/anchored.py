"""What plugins share that hold parameters near old values, each as tightly as it matters to the past."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from cl.plugins.base import Gradients, Plugin, Tools
from cl.plugins.maths.algebra import parameters_of
from cl.plugins.maths.quadratic import Quadratic


@dataclass
class Anchored(Plugin):
    """The term `strength` · ½ Σ A(θ − μ)². What differs is how A is found, and that is for `after_experience`."""

    traits: ClassVar[frozenset[str]] = frozenset({"anchored", "holds"})
    grows: ClassVar[str] = "rows of embeddings, for words that come for the first time"

    strength: float = 1.0
    anchor: Quadratic = field(init=False, repr=False, default_factory=Quadratic)

    def copies(self, num_experiences: int) -> int:
        return 5  # a new A and μ, found while the old ones are held, and a sum not yet divided

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        if not self.anchor.curvature:
            return None
        if gone := self.anchor.curvature.keys() - dict(tools.network.named_parameters()).keys():
            raise ValueError(
                f"it holds parameters that the network has no more: {', '.join(sorted(gone)[:3])}"
                f"{', …' * (len(gone) > 3)}. Parameters keep their names from one experience to the next"
            )
        return self.anchor.apply(parameters_of(tools.network), gradients, self.strength / 2)
