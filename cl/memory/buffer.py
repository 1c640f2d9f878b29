"""The buffer: remembered examples as references, the same on every rank."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cl.memory.policies import Policy


def _none(dtype: torch.dtype = torch.int64) -> Tensor:
    return field(default_factory=lambda: torch.empty(0, dtype=dtype))  # type: ignore[return-value]


@dataclass
class Buffer:
    """At most `capacity` examples: 32 bytes each, whatever their length.

    `rows`: the example's row in the store; `experience`: where it was met; `groups`, `keys`: see policies.
    All `[n]`.
    """

    capacity: int
    rows: Tensor = _none()
    experience: Tensor = _none()
    groups: Tensor = _none()
    keys: Tensor = _none(torch.float64)

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, rows: Tensor, experience: int, groups: Tensor, policy: Policy, generator: torch.Generator) -> None:
        """Offers examples to the buffer; `policy` says who of old and new stays."""
        self.rows = torch.cat([self.rows, rows])
        self.experience = torch.cat([self.experience, torch.full_like(rows, experience)])
        self.groups = torch.cat([self.groups, groups])
        self.keys = torch.cat([self.keys, torch.rand(len(rows), generator=generator, dtype=torch.float64)])
        keep = policy(self.keys, self.groups, self.experience)[: self.capacity].sort().values
        for name in ("rows", "experience", "groups", "keys"):
            setattr(self, name, getattr(self, name)[keep])

    def draw(self, size: int, generator: torch.Generator) -> Tensor:
        """Positions of `size` different examples, or of all if there are fewer, int64."""
        return torch.randperm(len(self), generator=generator)[:size]
