"""Readouts: what turns features into logits, and grows by the names of classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, pad

from cl.models.options import ReadoutName

INIT_STD = 0.02
INIT_SCALE = 10.0  # of cosines: with 1 a class of a dozen could never be sure


class Readout(nn.Module):
    """A column a class; classes arrive over time, and old columns keep their place and values.

    `forward`: features `[N, H]` → logits `[N, C]` of `logit_dtype`. `names`: of the classes, column by column. Loading
    an earlier state takes over its width.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.names: tuple[str, ...] = ()
        self.weight = nn.Parameter(torch.zeros(0, hidden))
        self.bias = None

    @property
    def num_columns(self) -> int:
        """Columns so far."""
        return self.weight.shape[0]

    @property
    def logit_dtype(self) -> torch.dtype:
        """float32 under any precision, float64 under 64-true."""
        return torch.float64 if self.weight.dtype == torch.float64 else torch.float32

    def grow(self, names: Sequence[str], generator: torch.Generator) -> None:
        """Columns for these classes, the old ones first; rows of new ones are drawn from N(0, 0.02²).

        Raises `ValueError` where an old class is missing or in another place.
        """
        known, names = self.names, tuple(names)
        if names[: len(known)] != known:
            raise ValueError(f"columns neither go nor move: there are {known}, and {names} were asked")
        if num_new := len(names) - len(known):
            rows = torch.randn(num_new, self.weight.shape[1], generator=generator) * INIT_STD
            self._set(torch.cat([self.weight.data, rows.to(self.weight)]))
            self.names = names

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            logits = self.logits(features.to(self.weight.dtype))
        return logits.to(self.logit_dtype)

    def logits(self, features: Tensor) -> Tensor:
        """`[N, H]` → `[N, C]`, both in the precision of the weights."""
        raise NotImplementedError

    def _set(self, weight: Tensor) -> None:
        self.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)
        if self.bias is not None:
            bias = pad(self.bias.data, (0, len(weight) - len(self.bias)))
            self.bias = nn.Parameter(bias, requires_grad=self.bias.requires_grad)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.get(f"{prefix}weight")
        if weight is not None and len(weight) < self.num_columns:
            self._set(self.weight.new_zeros(weight.shape))
            self.names = self.names[: len(weight)]  # columns never move: those of an earlier state come first
        super()._load_from_state_dict(state_dict, prefix, *args)


class Linear(Readout):
    """Logits are `feature · row + bias`."""

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)
        self.bias = nn.Parameter(torch.zeros(0))

    def logits(self, features: Tensor) -> Tensor:
        return linear(features, self.weight, self.bias)


class Cosine(Readout):
    """Logits are `scale · cos(feature, row)`: new classes cannot win by the length of their rows.

    `scale` is learnt, one for all classes; there is no bias (Hou et al., 2019: Learning a unified classifier
    incrementally via rebalancing). Cosines are taken over the `H` features of each target, never over positions.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__(hidden)
        self.scale = nn.Parameter(torch.tensor(INIT_SCALE))

    def logits(self, features: Tensor) -> Tensor:
        return self.scale * linear(normalize(features, dim=-1), normalize(self.weight, dim=-1))


READOUTS: dict[ReadoutName, type[Readout]] = {"linear": Linear, "cosine": Cosine}
