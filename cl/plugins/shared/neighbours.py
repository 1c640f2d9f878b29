"""Words of an experience that look alike: which they are, and what the network says of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cl.data.collate import collate
from cl.plugins.base import Tools
from cl.types import Experience

CHUNK = 256


@dataclass
class Neighbours:
    """Words of the store, int64 `[W]`, sorted, and the `k` nearest of each, `[W, k]`."""

    words: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    nearest: Tensor = field(default_factory=lambda: torch.zeros(0, 0, dtype=torch.int64))

    def logits(self, tools: Tools, experience: Experience, words: Tensor, batch_size: int) -> Tensor:
        """What the network says of the neighbours of `words` `[N]`: `[N, k, C]`, as `logits_of`."""
        place = torch.searchsorted(self.words, words.cpu())
        return logits_of(tools, experience, self.nearest[place], batch_size)


def nearest(features: Tensor, k: int) -> Tensor:
    """Of each of `W` words the `k` nearest others, int64 `[W, k]`, by the distance of normalised features `[W, H]`.

    Where there are fewer others, the word itself stands in.
    """
    features = normalize(features, dim=1)
    found = []
    for first in range(0, len(features), CHUNK):
        distance = torch.cdist(features[first : first + CHUNK], features)
        own = torch.arange(len(distance))
        distance[own, first + own] = float("inf")  # the last choice
        chosen = distance.topk(min(k, len(features)), largest=False).indices
        itself = (first + own)[:, None].expand(-1, k - chosen.shape[1])
        found.append(torch.cat([chosen, itself], dim=1))
    return torch.cat(found) if found else torch.zeros(0, k, dtype=torch.int64)


def nearest_of_group(tools: Tools, group: Tensor, features: Sequence[tuple[Tensor, Tensor]], k: int) -> Neighbours:
    """The words of the store that are in a group, and of each the `k` nearest of the same group.

    `group`, int64, one a word of the store: 0 for none. `features`: words and their features, in parts. Both of this
    rank's share of the words.
    """
    group = tools.sum({"group": group})["group"]
    words = group.nonzero().flatten()
    weight = tools.network.head("token").weight
    every = torch.zeros(len(words), weight.shape[1], dtype=weight.dtype)
    for some, found in features:
        every[torch.searchsorted(words, some)] = found.to(weight.dtype)
    every = tools.sum({"features": every})["features"]
    chosen = torch.zeros(len(words), k, dtype=torch.int64)
    for number in torch.unique(group[words]).tolist():
        members = (group[words] == number).nonzero().flatten()
        chosen[members] = words[members][nearest(every[members], k)]
    return Neighbours(words, chosen)


def logits_of(tools: Tools, experience: Experience, words: Tensor, batch_size: int) -> Tensor:
    """The network's logits for words of the store (any shape), `[…, C]`: in eval mode, without gradient."""
    store, network, index = tools.store, tools.network, experience.index
    distinct, inverse = torch.unique(words, return_inverse=True)
    head = network.head("token")
    logits = head.weight.new_zeros(len(distinct), head.num_columns, dtype=head.logit_dtype)
    was_training = network.training
    network.eval()
    with torch.no_grad():
        for rows in torch.unique(torch.searchsorted(store.word_offsets, distinct, right=True) - 1).split(batch_size):
            who = torch.full_like(rows, index)
            batch = collate(store.of(rows, who), index, training=False).to(logits.device)
            output = network(batch)["token"]
            here = output.targets.words.cpu()
            wanted = torch.isin(here, distinct)
            place = torch.searchsorted(distinct, here[wanted]).to(logits.device)
            logits[place] = output.logits[wanted.to(logits.device)]
    network.train(was_training)
    return logits[inverse.to(logits.device)]
