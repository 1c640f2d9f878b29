"""Joint training: the upper bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cl.data.dataset import Dataset
from cl.plugins.base import Plugin, Tools
from cl.types import Experience


@dataclass
class Joint(Plugin):
    """Trains on the examples of all experiences so far, labelled with every class seen so far.

    A bound rather than a strategy: it keeps everything. Goes on from the previous network (cumulative).
    Cost: time grows with the number of experiences; no memory beyond the stream itself. When to use it: as the upper
    bound that every table needs.
    """

    paper: ClassVar[str] = "Caruana, 1997: Multitask learning"
    traits: ClassVar[frozenset[str]] = frozenset({"data"})
    excludes: ClassVar[dict[str, str]] = {"data": "each says what all of the training data is"}

    bound: ClassVar[str] = "keeps all data"

    def train_data(self, tools: Tools, dataset: Dataset, experience: Experience) -> Dataset:
        for earlier in range(experience.index):
            dataset = dataset + tools.store.dataset(earlier, "train")
        return dataset.seeing(experience.index)

    def remembered(self, tools: Tools) -> Dataset:
        return self.train_data(tools, tools.store.dataset(tools.experience.index, "train"), tools.experience)
