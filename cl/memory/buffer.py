"""The buffer: remembered examples as references, the same on every rank."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cl.memory.policies import Policy


def _none() -> Tensor:
    return torch.empty(0, dtype=torch.int64)


@dataclass
class Buffer:
    """At most `capacity` examples: 32 bytes each, whatever their length.

    `rows`: the example's row in the store; `experience`: where it was met; `groups`, `keys`: see policies.
    All `[n]`.
    """

    capacity: int
    rows: Tensor = field(default_factory=_none)
    experience: Tensor = field(default_factory=_none)
    groups: Tensor = field(default_factory=_none)
    keys: Tensor = field(default_factory=lambda: _none().double())

    def __len__(self) -> int:
        return len(self.rows)

    def add(
        self,
        rows: Tensor,
        experience: int,
        groups: Tensor,
        policy: Policy,
        generator: torch.Generator,
        keys: Tensor | None = None,
    ) -> None:
        """Offers examples to the buffer; `policy` says who of old and new stays. `keys`: None to draw them."""
        if keys is None:
            keys = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        self.rows = torch.cat([self.rows, rows])
        self.experience = torch.cat([self.experience, torch.full_like(rows, experience)])
        self.groups = torch.cat([self.groups, groups])
        self.keys = torch.cat([self.keys, keys])
        keep = policy(self.keys, self.groups, self.experience)[: self.capacity].sort().values
        for name in ("rows", "experience", "groups", "keys"):
            setattr(self, name, getattr(self, name)[keep])

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Positions of `size` different examples, or of all if there are fewer, int64."""
        return torch.randperm(len(self), generator=generator)[:size]
