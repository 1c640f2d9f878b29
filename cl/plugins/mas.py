"""Memory aware synapses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from cl.batches import Output
from cl.plugins.base import Tools
from cl.plugins.maths.algebra import copies, parameters_of
from cl.plugins.maths.per_example import add_magnitude, per_example
from cl.plugins.shared.anchored import Anchored
from cl.types import Experience


@dataclass
class MAS(Anchored):
    """Hold each parameter near its newest value, in proportion to how much outputs on the old data depend on it.

    `strength` ≥ 0 weighs ½ Σ Ω(θ − θ*)² (half of the paper's λ), usual values are 0.1 to 100. Ω adds up the mean over
    `num_examples` of an experience's examples (0: all) of the magnitude of the gradient of one example's ‖logits‖²,
    the sum over its words; it needs no labels. Cost: a training pass over these examples after each experience; two
    copies of the parameters. When to use it: as EWC, where labels are few or wrong.
    """

    paper: ClassVar[str] = "Aljundi et al., 2018: Memory aware synapses: learning what (not) to forget"

    num_examples: int = 200

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        data = tools.store.dataset(experience.index, "train")
        chosen = data[torch.randperm(len(data), generator=self.generator(tools, "mas"))[: self.num_examples or None]]

        def squared_norm(output: Output) -> Tensor:
            return output.raw.square().sum(1)

        omega = per_example(tools, chosen, squared_norm, add_magnitude)
        omega = {name: o / len(chosen) for name, o in omega.items()}
        self.anchor.replace(omega, copies(parameters_of(tools.network)))
