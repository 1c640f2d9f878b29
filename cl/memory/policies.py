"""Policies: which examples a full buffer keeps.

Every example has a key, drawn once and uniformly from [0, 1) unless the policy has keys of its own. A policy
orders examples by their keys; whoever comes first stays. Keeping the greatest keys of all that were ever seen is
reservoir sampling, in any number of portions (Vitter, 1985; the weighted form is Efraimidis & Spirakis, 2006).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Policy = Callable[[Tensor, Tensor, Tensor], Tensor]
"""keys float64 `[n]`, groups int64 `[n]` (class or rarest entity type), experience int64 `[n]` → the order in
which the examples deserve a place, int64 `[n]`."""


def reservoir(keys: Tensor, groups: Tensor, experience: Tensor) -> Tensor:
    """A uniform sample of everything seen."""
    return keys.argsort(descending=True, stable=True)


def herding(keys: Tensor, groups: Tensor, experience: Tensor) -> Tensor:
    """As `class_balanced`, with keys that say how typical an example is (see `cl.memory.herding`)."""
    return _balanced(keys, groups)


def class_balanced(keys: Tensor, groups: Tensor, experience: Tensor) -> Tensor:
    """As equal a number of each class as there are examples for."""
    return _balanced(keys, groups)


def experience_balanced(keys: Tensor, groups: Tensor, experience: Tensor) -> Tensor:
    """An equal number of each experience."""
    return _balanced(keys, experience)


def _balanced(keys: Tensor, groups: Tensor) -> Tensor:
    by_key = keys.argsort(descending=True, stable=True)
    rank = torch.empty_like(by_key)
    for group in torch.unique(groups).tolist():
        members = by_key[groups[by_key] == group]
        rank[members] = torch.arange(len(members))
    # The best of each group first, then the second best of each, …; within a round the greater key.
    return by_key[rank[by_key].argsort(stable=True)]


POLICIES: dict[str, Policy] = {
    "reservoir": reservoir,
    "class_balanced": class_balanced,
    "experience_balanced": experience_balanced,
    "herding": herding,
}
