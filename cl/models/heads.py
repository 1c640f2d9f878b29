"""Heads that grow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, pad

from cl.models.options import HeadType

INIT_STD = 0.02
INIT_SCALE = 10.0  # of cosines: with 1 a class of a dozen could never be sure


class Head(nn.Module):
    """A linear classifier whose columns arrive over time; old ones keep their place and values.

    `forward`: features `[N, H]` → logits `[N, C]` of `logit_dtype`. Loading a state takes over its width.
    """

    bias: nn.Parameter | None

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(0, hidden))
        self.bias = nn.Parameter(torch.zeros(0))

    @property
    def num_columns(self) -> int:
        """Columns so far."""
        return self.weight.shape[0]

    @property
    def logit_dtype(self) -> torch.dtype:
        """float32 under any precision, float64 under 64-true."""
        return torch.float64 if self.weight.dtype == torch.float64 else torch.float32

    def grow(self, num_columns: int, generator: torch.Generator) -> None:
        """Adds rows drawn from N(0, 0.02²) until there are `num_columns`; fewer is an error."""
        new = num_columns - self.num_columns
        if new < 0:
            raise ValueError(f"a head does not shrink: it has {self.num_columns} columns, {num_columns} were asked")
        if new:
            rows = torch.randn(new, self.weight.shape[1], generator=generator) * INIT_STD
            self._set(torch.cat([self.weight.data, rows.to(self.weight)]))

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            logits = self._logits(features.to(self.weight.dtype))
        return logits.to(self.logit_dtype)

    def _logits(self, features: Tensor) -> Tensor:
        return linear(features, self.weight, self.bias)

    def _set(self, weight: Tensor) -> None:
        self.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)
        if self.bias is not None:
            bias = pad(self.bias.data, (0, len(weight) - len(self.bias)))
            self.bias = nn.Parameter(bias, requires_grad=self.bias.requires_grad)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.get(f"{prefix}weight")
        if weight is not None and weight.shape != self.weight.shape:
            self._set(self.weight.new_zeros(weight.shape))
        super()._load_from_state_dict(state_dict, prefix, *args)


class CosineHead(Head):
    """A head whose logits are `scale · cos(feature, row)`: new classes cannot win by the length of their rows.

    `scale` is learnt, one for all classes; there is no bias (Hou et al., 2019: Learning a unified classifier
    incrementally via rebalancing). Cosines are taken over the `H` features of each target, never over positions.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)
        self.bias = None
        self.scale = nn.Parameter(torch.tensor(INIT_SCALE))

    def _logits(self, features: Tensor) -> Tensor:
        return self.scale * linear(normalize(features, dim=-1), normalize(self.weight, dim=-1))


HEADS: dict[HeadType, type[Head]] = {"linear": Head, "cosine": CosineHead}
