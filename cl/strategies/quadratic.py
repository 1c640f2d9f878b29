"""Quadratic penalties: the sum of any number of them is one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

Tensors = dict[str, Tensor]


@dataclass
class Quadratic:
    """Σ Aᵢ(θᵢ − μᵢ)² + c over named parameters; `curvature` A and `centre` μ."""

    curvature: Tensors = field(default_factory=dict)
    centre: Tensors = field(default_factory=dict)
    constant: float = 0.0

    def add(self, curvature: Tensors, centre: Tensors) -> None:
        """Adds Σ curvature·(θ − centre)², exactly. Rows by which a head has grown since are new in the sum."""
        for name, f in curvature.items():
            x = centre[name]
            a, m = (_grown(state.get(name), x) for state in (self.curvature, self.centre))
            total = a + f
            # Written so that equal centres stay equal to the last bit: Adam makes whole steps of rounding errors.
            mean = torch.where(total > 0, m + f / total.clamp(min=torch.finfo(total.dtype).tiny) * (x - m), x)
            self.constant += float((a * (m - mean) ** 2 + f * (x - mean) ** 2).double().sum())
            self.curvature[name], self.centre[name] = total, mean

    def move(self, curvature: Tensors, centre: Tensors, decay: float = 1.0) -> None:
        """Adds `curvature` to `decay` times its own, and takes over `centre`."""
        for name, f in curvature.items():
            self.curvature[name] = decay * _grown(self.curvature.get(name), f) + f
        self.centre.update(centre)

    def __call__(self, parameters: Tensors) -> Tensor:
        """The value at these parameters; rows that a head has grown since are free."""
        value: Tensor = _Value.apply(*self._aligned(parameters))
        return value + self.constant

    def gradient(self, parameters: Tensors) -> Tensors:
        """The gradient by each of these parameters that it holds, of the rows that it holds."""
        curvature, centre, *held = self._aligned(parameters)
        if not held:
            return {}
        gradients = torch._foreach_mul(torch._foreach_mul(torch._foreach_sub(held, centre), curvature), 2.0)
        return dict(zip((name for name in self.curvature if name in parameters), gradients, strict=True))

    def _aligned(self, parameters: Tensors) -> tuple[Any, ...]:
        """A, μ and the rows of these parameters that it holds, on one device and in one dtype."""
        names = [name for name in self.curvature if name in parameters]
        for name in names:  # a checkpoint brings them on the CPU
            p = parameters[name]
            self.curvature[name], self.centre[name] = (s[name].to(p.device) for s in (self.curvature, self.centre))
        curvature = [self.curvature[name] for name in names]
        centre = [self.centre[name].to(a.dtype) for name, a in zip(names, curvature, strict=True)]
        held = [parameters[name].to(a.dtype) for name, a in zip(names, curvature, strict=True)]
        return (
            curvature,
            centre,
            *(p if len(p) == len(a) else p[: len(a)] for p, a in zip(held, curvature, strict=True)),
        )


class _Value(torch.autograd.Function):
    """Σ A(θ − μ)² in a few calls for all tensors, where autograd would make several for each."""

    @staticmethod
    def forward(ctx: Any, curvature: list[Tensor], centre: list[Tensor], *parameters: Tensor) -> Tensor:
        difference = torch._foreach_sub(parameters, centre)
        pull = torch._foreach_mul(difference, curvature)
        value = torch.stack([torch.dot(a.flatten(), b.flatten()) for a, b in zip(pull, difference, strict=True)]).sum()
        ctx.pull = pull
        return value

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> Any:
        return None, None, *torch._foreach_mul(ctx.pull, 2 * slope)


def _grown(old: Tensor | None, like: Tensor) -> Tensor:
    """A state with zeros in the rows by which its parameter has grown."""
    if old is None:
        return torch.zeros_like(like)
    return old if len(old) == len(like) else pad(old, (0, 0) * (old.ndim - 1) + (0, len(like) - len(old)))
