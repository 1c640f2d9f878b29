"""Averaged gradient episodic memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cl.plugins.base import Gradients, Tools
from cl.plugins.maths.algebra import add, at_least_float32, gradients_of, inner
from cl.plugins.maths.losses import cross_entropy
from cl.plugins.shared.remembering import Remembering


@dataclass
class AGEM(Remembering):
    """Never step against the gradient of the loss on remembered examples.

    The update g becomes g − (g·r / r·r) r where g·r < 0, with r the gradient on `batch_size` examples drawn anew
    at each step from `capacity` remembered ones. g is reduced over ranks, unscaled and not yet clipped.
    Cost: a forward and backward pass of the drawn examples; 32 bytes an example.
    When to use it: as a light constraint; replay of the same examples usually forgets less.
    """

    paper: ClassVar[str] = "Chaudhry et al., 2019: Efficient lifelong learning with A-GEM"
    traits: ClassVar[frozenset[str]] = frozenset({"projects"})
    excludes: ClassVar[dict[str, str]] = {"projects": "the second projection breaks what the first has ensured"}

    def copies(self, num_experiences: int) -> int:
        return 1

    def on_gradients(self, tools: Tools, gradients: Gradients) -> Gradients:
        if not len(self.buffer):
            return gradients
        loss = tools.forward_on(self.draw(tools, "agem")).mean(lambda kind, output: cross_entropy(output))
        found = gradients_of(loss, tools.network)
        reference = tools.sum({name: at_least_float32(gradient) for name, gradient in found.items()})
        dot = inner(gradients, reference)
        if dot < 0:
            add(gradients, reference, -float(dot / inner(reference, reference)))
        return gradients
