"""Herding: examples whose mean stays close to that of their class (Welling, 2009; Rebuffi et al., 2017: iCaRL)."""

from __future__ import annotations

import torch
from torch import Tensor


def herd(features: Tensor, num_chosen: int) -> Tensor:
    """The positions of `num_chosen` of the rows of `[n, H]`, int64, best first.

    Each choice brings the mean of all chosen so far as close as it can to the mean of all rows.
    """
    mean, total = features.mean(0), torch.zeros_like(features[0])
    free = torch.ones(len(features), dtype=torch.bool)
    chosen: list[int] = []
    for size in range(1, num_chosen + 1):
        distance = ((total + features) / size - mean).square().sum(1).masked_fill(~free, torch.inf)
        chosen.append(best := int(distance.argmin()))
        total, free[best] = total + features[best], False
    return torch.tensor(chosen)


def herding_keys(features: Tensor, groups: Tensor, capacity: int) -> Tensor:
    """Keys in [0, 1], float64 `[n]`: 1 for the first that herding chooses of its group, 1/2 for the second, …

    `features` `[n, H]`, `groups` int64 `[n]`; nobody beyond the `capacity`-th of a group has a chance to stay.
    """
    # Rounded, so that copies of an example tie however their features were batched: the first of them is chosen.
    features = torch.nn.functional.normalize(features, dim=1).float().double()
    keys = torch.zeros(len(features), dtype=torch.float64)
    for group in torch.unique(groups).tolist():
        members = (groups == group).nonzero().squeeze(1)
        order = herd(features[members], min(capacity, len(members)))
        keys[members[order]] = 1.0 / torch.arange(1, len(order) + 1, dtype=torch.float64)
    return keys
