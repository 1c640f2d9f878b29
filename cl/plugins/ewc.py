"""Elastic weight consolidation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, softmax

from cl.batches import Output
from cl.plugins.base import Tools
from cl.plugins.maths.algebra import copies, parameters_of
from cl.plugins.maths.per_example import add_square, per_example
from cl.plugins.shared.anchored import Anchored
from cl.types import Experience


@dataclass
class EWC(Anchored):
    """Hold each parameter near its old value, in proportion to its Fisher information on the old data.

    `strength` ≥ 0 weighs ½ Σ F(θ − θ*)², usual values are 10² to 10⁶. The Fisher of an experience is the mean over
    `num_examples` of its training examples (0: all) of the squared gradient of one example's log-likelihood, the sum
    over its words; of the labels given (`fisher: empirical`) or of labels drawn from the network's prediction
    (`true`). Penalties of experiences add up, or with `decay` γ in (0, 1] one stands for all, F ← γF + F(new), around
    the newest parameters (online EWC, Schwarz et al., 2018).
    Cost: a training pass over these examples after each experience; at most two copies of the parameters (of
    embeddings, those of words that came), whatever the number of experiences. When to use it: nothing may be stored,
    experiences share one head.
    """

    paper: ClassVar[str] = "Kirkpatrick et al., 2017: Overcoming catastrophic forgetting in neural networks"

    strength: float = 1000.0
    num_examples: int = 200
    fisher: Literal["empirical", "true"] = "empirical"
    decay: float | None = None

    def __post_init__(self) -> None:
        if self.decay is not None and not 0 < self.decay <= 1:
            raise ValueError(f"decay is above 0 and at most 1, or null, not {self.decay}")

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        data = tools.store.dataset(experience.index, "train")
        chosen = data[torch.randperm(len(data), generator=self.generator(tools, "fisher"))[: self.num_examples or None]]
        chance = torch.rand(len(tools.store.labels), generator=self.generator(tools, "labels"))  # of each word

        def minus_log_likelihood(output: Output) -> Tensor:
            labels = output.targets.labels
            if self.fisher == "true":
                labels = _drawn(output.logits.detach(), chance[output.targets.words.cpu()].to(labels.device))
            return cross_entropy(output.logits, labels, reduction="none")

        fisher = per_example(tools, chosen, minus_log_likelihood, add_square)
        fisher = {name: f / len(chosen) for name, f in fisher.items()}
        now = copies(parameters_of(tools.network))
        if self.decay is None:
            self.anchor.add(fisher, now)
        else:
            self.anchor.replace(fisher, now, self.decay)


def _drawn(logits: Tensor, chance: Tensor) -> Tensor:
    """A class for each target, `[N]`, from its distribution: where its cumulated probability exceeds `chance`."""
    return (softmax(logits, 1).cumsum(1) <= chance[:, None]).sum(1).clamp(max=logits.shape[1] - 1)
