"""Quadratic penalties: what regularisers that anchor parameters share."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass
class Quadratic:
    """Σ Aᵢ(θᵢ − μᵢ)² + c over named parameters: the sum of any number of anchored quadratics, exactly."""

    curvature: dict[str, Tensor] = field(default_factory=dict)
    centre: dict[str, Tensor] = field(default_factory=dict)
    constant: float = 0.0

    def add(self, curvature: dict[str, Tensor], centre: dict[str, Tensor]) -> None:
        """Adds Σ curvature·(θ − centre)². Rows by which a head has grown since are new in the sum."""
        for name, f in curvature.items():
            a, m, x = torch.zeros_like(f), torch.zeros_like(f), centre[name]
            if name in self.curvature:
                old = self.curvature[name]
                a[: len(old)], m[: len(old)] = old, self.centre[name]
            total = a + f
            # Written so that equal centres stay equal to the last bit: Adam makes whole steps of rounding errors.
            mean = torch.where(total > 0, m + f / total.clamp(min=torch.finfo(total.dtype).tiny) * (x - m), x)
            self.constant += float((a * (m - mean) ** 2 + f * (x - mean) ** 2).double().sum())
            self.curvature[name], self.centre[name] = total, mean

    def __call__(self, parameters: dict[str, Tensor]) -> Tensor:
        """The value at these parameters; rows that a head has grown since are free."""
        for state in (self.curvature, self.centre):  # a checkpoint brings them on the CPU
            state.update({name: t.to(parameters[name].device) for name, t in state.items()})
        terms = [
            (a * (parameters[name][: len(a)] - self.centre[name]) ** 2).sum() for name, a in self.curvature.items()
        ]
        return torch.stack(terms).sum() + self.constant
