"""O-LoRA: adapters in orthogonal subspaces."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cl.models.adapters import layers_with_earlier
from cl.plugins.base import Gradients, Tools
from cl.plugins.inc_lora import IncLoRA
from cl.plugins.maths.algebra import add_to_rows


@dataclass
class OLoRA(IncLoRA):
    """Train an adapter for each experience in directions that are orthogonal to those of earlier ones.

    The term is `orthogonality` ≥ 0 (λ₁ of the paper, 0.5 there) times a sum over layers, of the products of each row of
    an earlier A with each row of the new one: `form: paper` adds up their squares, `form: code` their absolute values,
    as the authors' code does. These are two methods: the gradient of squares vanishes as rows become orthogonal, that
    of absolute values does not. It needs `network.adapter: {kind: lora}`. Cost: two small products of matrices a layer
    and step. When to use it: where no old example may be kept.
    """

    orthogonality: float = 0.5
    form: Literal["paper", "code"] = "paper"

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        if not tools.experience.index:
            return None
        terms = []
        with torch.no_grad():
            for name, layer in layers_with_earlier(tools.network.backbone.model):
                old, new = layer.earlier.down, layer.lora_A["default"].weight
                overlap = new @ old.to(new.dtype).T  # [r, R]
                value, slope = (overlap**2, 2 * overlap) if self.form == "paper" else (overlap.abs(), overlap.sign())
                terms.append(value.sum())
                gradient = gradients.get(f"backbone.model.{name}.lora_A.default.weight")
                if gradient is not None:  # None where another plugin has frozen it
                    add_to_rows(gradient, None, self.orthogonality * slope @ old.to(new.dtype))
        return self.orthogonality * torch.stack(terms).sum()
