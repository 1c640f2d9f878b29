"""L2 anchor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from cl.plugins.base import Tools
from cl.plugins.maths.algebra import copies, parameters_of
from cl.plugins.shared.anchored import Anchored
from cl.types import Experience


@dataclass
class L2(Anchored):
    """Hold each parameter near its value at the end of the previous experience, all alike.

    `strength` ≥ 0 weighs ½ ‖θ − θ*‖², usual values are 0.01 to 10. Cost: two copies of the parameters. When to use
    it: as the baseline that a penalty with importances must beat.
    """

    paper: ClassVar[str] = "Hsu et al., 2018: Re-evaluating continual learning scenarios"

    def copies(self, num_experiences: int) -> int:
        return 4  # A and μ, the new ones while the old ones are held

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        now = copies(parameters_of(tools.network))
        self.anchor.replace({name: torch.ones_like(p) for name, p in now.items()}, now, decay=0.0)
