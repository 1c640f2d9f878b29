"""GDumb: greedy sampler and dumb tools."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from cl.data.dataset import Dataset
from cl.memory.buffer import Buffer
from cl.plugins.base import Tools
from cl.plugins.shared.remembering import labelled_as_stored, offer
from cl.plugins.shared.restarting import Restarting
from cl.types import Experience


@dataclass
class GDumb(Restarting):
    """Keep a class-balanced memory and train a network from fresh weights on it alone, in each experience anew.

    `capacity` examples are remembered in all, those of the current experience among them. Nothing is learnt but from
    memory: a method with as large a memory that ends below it makes no use of the stream. Cost: time grows with
    `capacity`, not with the stream; the initial weights, and 32 bytes an example. When to use it: as the simple
    baseline of every table with replay.
    """

    paper: ClassVar[str] = (
        "Prabhu, Torr & Dokania, 2020: GDumb: a simple approach that questions our progress in continual learning"
    )
    traits: ClassVar[frozenset[str]] = frozenset({"restarts", "data"})
    excludes: ClassVar[dict[str, str]] = Restarting.excludes | {"data": "each says what all of the training data is"}
    from_the_start: ClassVar[bool] = True

    capacity: int = 200
    buffer: Buffer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(f"capacity is at least 1, not {self.capacity}")
        self.buffer = Buffer(self.capacity)

    def train_data(self, tools: Tools, dataset: Dataset, experience: Experience) -> Dataset:
        return labelled_as_stored(tools, self.extended(tools, experience))

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        self.buffer = self.extended(tools, experience)

    def remembered(self, tools: Tools) -> Dataset:
        return labelled_as_stored(tools, self.buffer)

    def extended(self, tools: Tools, experience: Experience) -> Buffer:
        """The memory with this experience's examples; the buffer itself is as it was, for a run may resume."""
        memory = replace(self.buffer)
        offer(self, tools, experience, memory, "class_balanced")
        return memory
