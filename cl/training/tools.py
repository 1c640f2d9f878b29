"""What plugins use of the learner, as `cl.plugins.base.Tools` promises it to them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from lightning.pytorch import Trainer
from torch import Tensor

from cl.batches import Batch, Step
from cl.data.collate import collate, concat, count
from cl.data.dataset import Dataset, Store
from cl.data.module import PassLoader
from cl.data.sampler import generator, share
from cl.models.network import Network
from cl.plugins.maths.algebra import without_autocast
from cl.types import Experience

if TYPE_CHECKING:
    from cl.training.learner import Learner


class LearnerTools:
    """The tools of one learner."""

    def __init__(self, learner: Learner) -> None:
        self._learner = learner

    @property
    def network(self) -> Network:
        return self._learner.network

    @property
    def store(self) -> Store:
        return self._learner.store

    @property
    def experience(self) -> Experience:
        return self._learner.experience

    @property
    def num_steps(self) -> int:
        return self._learner.num_steps

    @property
    def trainer(self) -> Trainer:
        return self._learner.trainer

    @property
    def device(self) -> torch.device:
        return self._learner.device

    @property
    def progress(self) -> float:
        return self.num_steps / self._learner.plan.num_steps

    def generator(self, *key: object) -> torch.Generator:
        return generator(self._learner.seed, self.experience.index, *key)

    def sum(self, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.trainer.world_size == 1:
            return tensors
        summed = dict(tensors)
        for dtype in {t.dtype: None for t in tensors.values()}:  # a collective each: between machines each one waits
            mine = {name: t for name, t in tensors.items() if t.dtype == dtype}
            flat = torch.cat([t.to(self.device).flatten() for t in mine.values()])
            torch.distributed.all_reduce(flat)
            parts = torch.split(flat, [t.numel() for t in mine.values()])
            summed |= {n: part.view_as(t).to(t.device) for (n, t), part in zip(mine.items(), parts, strict=True)}
        return summed

    def batches_of(self, data: Dataset, batch_size: int) -> Iterator[Batch]:
        learnt, trainer = self.experience.index, self.trainer
        loader = PassLoader(data, learnt, batch_size=batch_size, rank=trainer.global_rank, num_ranks=trainer.world_size)
        with trainer.precision_plugin.forward_context():
            for batch in loader:
                yield batch.to(self.device)

    def with_examples(self, batch: Batch, data: Dataset) -> Batch:
        return concat(batch, self._share(data, batch.part, batch.num_parts))

    def forward_on(self, data: Dataset, batch: Batch | None = None) -> Step:
        part, num_parts = (
            (self.trainer.global_rank, self.trainer.world_size) if batch is None else (batch.part, batch.num_parts)
        )
        mine = self._share(data, part, num_parts)
        exact = without_autocast(self.device) if batch is None else nullcontext()
        with self.trainer.precision_plugin.forward_context(), exact:
            return Step(self.experience, mine, self.network(mine))

    def record(self, values: dict[str, float]) -> None:
        for sink in self._learner.sinks:
            sink(self.experience.index, self._learner.epoch, self._learner.total_steps, values)

    def _share(self, data: Dataset, part: int, num_parts: int) -> Batch:
        mine = share(torch.arange(len(data)), part, num_parts)
        placeholder = not len(mine)
        chosen = data[:1] if placeholder else data[mine]
        batch = collate(chosen, self.experience.index, training=True, counts=count(data), placeholder=placeholder)
        return replace(batch, part=part, num_parts=num_parts).to(self.device)
