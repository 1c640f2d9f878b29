"""What plugins with a memory share: the buffer, how it fills, and how it is drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from cl.data.dataset import Dataset
from cl.memory.buffer import Buffer
from cl.memory.herding import herding_keys
from cl.memory.policies import POLICIES
from cl.plugins.base import Plugin, Tools
from cl.types import Experience


@dataclass
class Remembering(Plugin):
    """Remembers `capacity` examples in all; `policy` says who stays. `batch_size` of them are drawn at a time.

    The buffer takes from an experience once it has been learnt, by a generator that all ranks share.
    """

    capacity: int = 200
    batch_size: int = 16
    policy: Literal["reservoir", "class_balanced", "experience_balanced", "herding"] = "reservoir"
    buffer: Buffer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        for name in ("capacity", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is at least 1, not {getattr(self, name)}")
        self.buffer = Buffer(self.capacity)

    def draw(self, tools: Tools, purpose: str) -> Dataset:
        """A batch for this step, the same on every rank; another for another purpose. The buffer must not be empty."""
        drawn = self.buffer.draw(self.batch_size, self.generator(tools, purpose, tools.num_steps))
        return self.remembered(tools)[drawn]

    def remembered(self, tools: Tools) -> Dataset:
        """All remembered examples, labelled as they were when they came."""
        return labelled_as_stored(tools, self.buffer)

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        offer(self, tools, experience, self.buffer, self.policy)


def labelled_as_stored(tools: Tools, buffer: Buffer) -> Dataset:
    """The examples of a buffer, labelled as they were when they came."""
    return tools.store.of(buffer.rows, buffer.experience)


def offer(plugin: Plugin, tools: Tools, experience: Experience, buffer: Buffer, policy: str) -> None:
    """Offers the training examples of an experience to a plugin's buffer, on every rank alike."""
    data = tools.store.dataset(experience.index, "train")
    groups = data.groups() * 2 + tools.store.is_token[data.rows]  # columns of two kinds are two classes
    keys = herding_keys(features_of(tools, data), groups, buffer.capacity) if policy == "herding" else None
    buffer.add(data.rows, experience.index, groups, POLICIES[policy], plugin.generator(tools, "buffer"), keys)


def features_of(tools: Tools, data: Dataset) -> Tensor:
    """A feature of each example (of a sentence: the mean over its valid words), float64 `[n, H]`, on the CPU."""
    network = tools.network
    rows, place = data.rows.sort()
    features = torch.zeros(len(data), network.backbone.hidden, dtype=torch.float64)
    num_targets = torch.zeros(len(data), dtype=torch.float64)
    was_training = network.training
    network.eval()
    with torch.no_grad():
        for batch in tools.batches_of(data, batch_size=32):
            of_row = place[torch.searchsorted(rows, batch.row.cpu())]
            for output in network(batch).values():
                owners = of_row[output.targets.rows.cpu()]
                features.index_add_(0, owners, output.features.cpu().double())
                num_targets.index_add_(0, owners, torch.ones(len(owners), dtype=torch.float64))
    network.train(was_training)
    summed = tools.sum({"features": features, "num_targets": num_targets})
    return summed["features"] / summed["num_targets"].clamp(min=1).unsqueeze(1)
