"""Experience replay."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from cl.data.dataset import Dataset
from cl.memory.buffer import Buffer
from cl.memory.policies import POLICIES
from cl.strategies.plugin import Learner, Plugin
from cl.types import Batch, Experience


@dataclass
class Replay(Plugin):
    """Add remembered examples to every batch.

    `capacity` examples are remembered in all, `batch_size` of them join each global batch; `policy` says who
    stays: reservoir, class_balanced or experience_balanced. A remembered "O" tells nothing of entity types
    that its labels did not cover. Cost: the time of the added examples; 32 bytes an example.
    When to use it: whenever examples may be stored; hard to beat.
    """

    paper: ClassVar[str] = "Chaudhry et al., 2019: On tiny episodic memories in continual learning"

    capacity: int = 200
    batch_size: int = 16
    policy: str = "reservoir"
    buffer: Buffer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.policy not in POLICIES:
            raise ValueError(f"policy is {self.policy!r}; there are: {', '.join(POLICIES)}")
        self.buffer = Buffer(self.capacity)

    def on_batch(self, learner: Learner, batch: Batch) -> Batch:
        if not len(self.buffer):
            return batch
        drawn = self.buffer.draw(self.batch_size, learner.generator("replay", learner.num_steps))
        rows, experience = self.buffer.rows[drawn], self.buffer.experience[drawn]
        return learner.extend(batch, Dataset(learner.store, rows, experience, experience))

    def after_experience(self, learner: Learner, experience: Experience) -> None:
        data = learner.store.dataset(experience.index, "train")
        groups = data.groups()
        self.buffer.add(data.rows, experience.index, groups, POLICIES[self.policy], learner.generator("buffer"))
