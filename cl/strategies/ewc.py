"""Elastic weight consolidation."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from cl.strategies.functional import copies, parameters_of, per_example_fisher
from cl.strategies.plugin import Learner, Plugin
from cl.strategies.quadratic import Quadratic
from cl.types import Experience, Step


@dataclass
class EWC(Plugin):
    """Hold each parameter near its old value, in proportion to its Fisher information on the old data.

    `strength` ≥ 0 weighs ½ Σ F(θ − θ*)², usual values are 10² to 10⁶; the empirical Fisher of an experience
    is the mean over `num_examples` of its training examples (0: all) of the squared gradient of one example's
    log-likelihood. Cost: one backward pass an example after each experience; two copies of the parameters,
    whatever the number of experiences. When to use it: nothing may be stored, experiences share one head.
    """

    paper: ClassVar[str] = "Kirkpatrick et al., 2017: Overcoming catastrophic forgetting in neural networks"

    strength: float = 1000.0
    num_examples: int = 200
    penalty: Quadratic = field(init=False, repr=False, default_factory=Quadratic)

    def loss(self, learner: Learner, step: Step) -> Tensor | None:
        if not self.penalty.curvature:
            return None
        return step.share(self.strength / 2 * self.penalty(dict(learner.network.named_parameters())))

    def after_experience(self, learner: Learner, experience: Experience) -> None:
        data = learner.store.dataset(experience.index, "train")
        num_examples = min(self.num_examples or len(data), len(data))
        chosen = torch.randperm(len(data), generator=learner.generator("fisher"))[:num_examples]
        fisher = learner.sum(per_example_fisher(learner.network, learner.each(data[chosen], batch_size=1)))
        self.penalty.add({name: f / num_examples for name, f in fisher.items()}, copies(parameters_of(learner.network)))
