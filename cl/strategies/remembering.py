"""What plugins with a memory share: the buffer, how it fills, and how it is drawn from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cl.data.dataset import Dataset
from cl.memory.buffer import Buffer
from cl.memory.policies import POLICIES
from cl.strategies.plugin import Learner, Plugin
from cl.types import Experience


@dataclass
class Remembering(Plugin):
    """Remembers `capacity` examples in all; `policy` says who stays. `batch_size` of them are drawn at a time.

    The buffer takes from an experience once it has been learnt, by a generator that all ranks share.
    """

    capacity: int = 200
    batch_size: int = 16
    policy: Literal["reservoir", "class_balanced", "experience_balanced"] = "reservoir"
    buffer: Buffer = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if self.capacity < 1 or self.batch_size < 1:
            raise ValueError(f"capacity and batch_size are at least 1, not {self.capacity} and {self.batch_size}")
        self.buffer = Buffer(self.capacity)

    def draw(self, learner: Learner, purpose: str) -> Dataset:
        """A batch for this step, the same on every rank; another for another purpose. The buffer must not be empty."""
        drawn = self.buffer.draw(self.batch_size, learner.generator(purpose, learner.num_steps))
        return self.remembered(learner)[drawn]

    def remembered(self, learner: Learner) -> Dataset:
        """All remembered examples, labelled as they were when they came."""
        return Dataset(learner.store, self.buffer.rows, self.buffer.experience, self.buffer.experience)

    def after_experience(self, learner: Learner, experience: Experience) -> None:
        data = learner.store.dataset(experience.index, "train")
        policy = POLICIES[self.policy]
        groups = data.groups() * 2 + learner.store.is_token[data.rows]  # columns of two kinds are two classes
        self.buffer.add(data.rows, experience.index, groups, policy, learner.generator("buffer"))
