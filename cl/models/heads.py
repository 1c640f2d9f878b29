"""Heads that grow."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

INIT_STD = 0.02


class Head(nn.Module):
    """A linear classifier whose columns arrive over time; old ones keep their place and values.

    `forward`: features `[N, H]` → logits `[N, C]` of `logit_dtype`. Loading a state takes over its width.
    """

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
            self._set(
                torch.cat([self.weight.data, rows.to(self.weight)]),
                torch.cat([self.bias.data, self.bias.new_zeros(new)]),
            )

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            logits = linear(features.to(self.weight.dtype), self.weight, self.bias)
        return logits.to(self.logit_dtype)

    def _set(self, weight: Tensor, bias: Tensor) -> None:
        self.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)
        self.bias = nn.Parameter(bias, requires_grad=self.bias.requires_grad)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.get(f"{prefix}weight")
        if weight is not None and weight.shape != self.weight.shape:
            self._set(self.weight.new_zeros(weight.shape), self.bias.new_zeros(weight.shape[0]))
        super()._load_from_state_dict(state_dict, prefix, *args)
