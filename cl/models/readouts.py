"""Readouts: what turns features into logits, and grows by the names of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize

from cl.models.options import ReadoutName
from cl.models.verbaliser import LabelWord
from cl.types import Kind

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
        """Columns for these classes, the old ones first; new ones begin as `fresh` says.

        Raises `ValueError` where an old class is missing or in another place.
        """
        known, names = self.names, tuple(names)
        if names[: len(known)] != known:
            raise ValueError(f"columns neither go nor move: there are {known}, and {names} were asked")
        if new := names[len(known) :]:
            rows, biases = self.fresh(new, generator)
            self._set(torch.cat([self.weight.data, rows.to(self.weight)]), biases)
            self.names = names

    def fresh(self, names: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Rows `[N, H]` and biases `[N]` of new classes: drawn from N(0, 0.02²), and 0."""
        return torch.randn(len(names), self.weight.shape[1], generator=generator) * INIT_STD, torch.zeros(len(names))

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            logits = self.logits(features.to(self.weight.dtype))
        return logits.to(self.logit_dtype)

    def logits(self, features: Tensor) -> Tensor:
        """`[N, H]` → `[N, C]`, both in the precision of the weights."""
        raise NotImplementedError

    def _set(self, weight: Tensor, new_biases: Tensor) -> None:
        self.weight = nn.Parameter(weight, requires_grad=self.weight.requires_grad)
        if self.bias is not None:
            bias = torch.cat([self.bias.data[: len(weight)], new_biases.to(self.bias)])
            self.bias = nn.Parameter(bias, requires_grad=self.bias.requires_grad)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        weight = state_dict.get(f"{prefix}weight")
        if weight is not None and len(weight) < self.num_columns:
            self._set(self.weight.new_zeros(weight.shape), self.weight.new_zeros(0))
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


class Verbaliser(Linear):
    """Logits are those of a language model's own head for the words of the classes; they train on from there.

    (Schick & Schütze, 2021: Exploiting cloze questions for few-shot text classification.)
    """

    def __init__(self, hidden: int, words: Mapping[str, LabelWord]) -> None:
        super().__init__(hidden)
        self.words = words

    def fresh(self, names: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = [self.words[name] for name in names]
        return torch.stack([word.row for word in chosen]), torch.stack([word.bias for word in chosen])


def readout(name: ReadoutName, kind: Kind, hidden: int, words: Mapping[str, LabelWord]) -> Readout:
    """A readout without columns. `words`: of a verbaliser, which tags of words have not."""
    if name == "verbaliser" and kind == "sequence":
        return Verbaliser(hidden, words)
    return Cosine(hidden) if name == "cosine" else Linear(hidden)
