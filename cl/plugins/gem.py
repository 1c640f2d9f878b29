"""Gradient episodic memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor

from cl.data.dataset import Dataset
from cl.plugins.base import Gradients, Tools
from cl.plugins.maths.algebra import add, gradients_of, inner
from cl.plugins.maths.losses import cross_entropy
from cl.plugins.shared.remembering import Remembering


@dataclass
class GEM(Remembering):
    """Take the step nearest to the gradient that raises the loss on no old experience's remembered examples.

    The update g becomes g + Σ vₖ gₖ, with gₖ the gradient on `batch_size` examples drawn anew of old experience k
    (the paper: on all of them) and v ≥ `margin` ≥ 0 the solution of the dual quadratic program; it stays g where no
    gₖ·g is negative. A greater margin (0 to 1) leans further towards the past. g is reduced over ranks, unscaled and
    not yet clipped, over every trained parameter. Cost: a forward and backward pass and one gradient an old
    experience; 32 bytes an example. When to use it: few experiences; replay of the same examples usually forgets less.
    """

    paper: ClassVar[str] = "Lopez-Paz & Ranzato, 2017: Gradient episodic memory for continual learning"
    traits: ClassVar[frozenset[str]] = frozenset({"projects"})
    excludes: ClassVar[dict[str, str]] = {"projects": "the second projection breaks what the first has ensured"}

    policy: Literal["reservoir", "class_balanced", "experience_balanced", "herding"] = "experience_balanced"
    margin: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin < 0:
            raise ValueError(f"margin is at least 0, not {self.margin}")

    def copies(self, num_experiences: int) -> int:
        return num_experiences - 1  # a gradient of each old experience

    def on_gradients(self, tools: Tools, gradients: Gradients) -> Gradients:
        references = [self.reference(tools, data) for data in self.by_experience(tools)]
        if not references:
            return gradients
        every = [*references, gradients]
        gram = torch.stack([torch.stack([inner(a, b) for b in every]) for a in every]).double().cpu()
        if (gram[-1, :-1] < 0).any():
            for weight, reference in zip(dual(gram, self.margin).tolist(), references, strict=True):
                add(gradients, reference, weight)
        return gradients

    def by_experience(self, tools: Tools) -> list[Dataset]:
        """A draw of remembered examples of each old experience."""
        data, drawn = self.remembered(tools), []
        for experience in torch.unique(data.experience).tolist():
            of_it = data[data.experience == experience]
            order = torch.randperm(len(of_it), generator=self.generator(tools, "gem", experience, tools.num_steps))
            drawn.append(of_it[order[: self.batch_size]])
        return drawn

    def reference(self, tools: Tools, data: Dataset) -> Gradients:
        """The gradient of the mean loss on `data`, by the name of every trained parameter."""
        loss = tools.forward_on(data).mean(lambda kind, output: cross_entropy(output))
        return tools.sum(gradients_of(loss, tools.network))


def dual(gram: Tensor, margin: float) -> Tensor:
    """The v ≥ `margin` that minimises ½‖g + Σ vₖ gₖ‖², `[K]`.

    `gram` float64 `[K + 1, K + 1]`: inner products of g₁ … g_K and, last, g. They are all that the norm depends on,
    so columns with these products stand for the gradients, and what is left is non-negative least squares.
    """
    values, vectors = torch.linalg.eigh(gram)
    columns = (values.clamp(min=0).sqrt().unsqueeze(1) * vectors.T).numpy()
    old, new = columns[:, :-1], columns[:, -1]
    beyond, _ = nnls(old, -(new + margin * old.sum(1)))
    return torch.from_numpy(np.asarray(beyond)) + margin
