"""Adversarial training by the fast gradient method."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from cl.batches import Outputs, Step
from cl.plugins.base import Plugin, Tools
from cl.plugins.maths.losses import cross_entropy
from cl.types import Kind


@dataclass
class FGM(Plugin):
    """Learn the labels again with word embeddings that are moved to where the loss grows fastest.

    An example's embedded sequence moves by r = ε g / ‖g‖, with g the gradient of its own loss and the norm over the
    whole sequence; ε is `epsilon` > 0, 0.1 to 5. (The paper normalises embeddings first; here ε is in their own
    units.) `strength` ≥ 0 weighs the adversarial loss. The rows of the embedding table are not moved. Cost: two more
    forward and backward passes (time × 3), no memory. When to use it: beside any other plugin, where new data is
    scarce or noisy; on its own it prevents little forgetting.
    """

    paper: ClassVar[str] = (
        "Miyato, Dai & Goodfellow, 2017: Adversarial training methods for semi-supervised text classification"
    )
    from_the_start: ClassVar[bool] = True

    strength: float = 1.0
    epsilon: float = 1.0

    def __post_init__(self) -> None:
        if self.epsilon <= 0:
            raise ValueError(f"epsilon is greater than 0, not {self.epsilon}")

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        network = tools.network
        shift = self.perturbation(tools, step)
        with network.backbone.embedding(lambda embedded: embedded + shift):
            outputs = network(step.batch)
        return self.strength * step.mean(lambda kind, _: _labels(kind, outputs, step))

    def perturbation(self, tools: Tools, step: Step) -> Tensor:
        """r, `[B, L, E]`: of norm ε in each example, 0 in one without targets."""
        found: list[Tensor] = []

        def watch(embedded: Tensor) -> Tensor:
            found.append(embedded.detach().requires_grad_())
            return found[0]

        with tools.network.backbone.embedding(watch):
            outputs = tools.network(step.batch)
        loss = torch.stack([_labels(kind, outputs, step).sum() for kind in outputs]).sum()
        (gradient,) = torch.autograd.grad(loss, found)
        norm = torch.linalg.vector_norm(gradient, dim=(1, 2), keepdim=True)
        shift: Tensor = self.epsilon * gradient / norm.clamp(min=torch.finfo(norm.dtype).tiny)
        return shift


def _labels(kind: Kind, outputs: Outputs, step: Step) -> Tensor:
    """−log p(label) of each target as the step labels it, `[N]`."""
    return cross_entropy(replace(outputs[kind], targets=step.outputs[kind].targets))
