"""Loaders: the batches of an experience as Lightning wants them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from lightning.pytorch import LightningDataModule

from cl.data.collate import collate, count
from cl.data.dataset import Dataset
from cl.data.sampler import global_batches, share
from cl.types import Batch


class TrainLoader:
    """This rank's micro-batches of each epoch; Lightning calls `set_epoch`.

    A global batch of `batch_size` examples is dealt to ranks × `accumulate` shares. An empty share is one
    example without targets, so that every rank takes every step.
    """

    def __init__(
        self, data: Dataset, learnt: int, *, batch_size: int, accumulate: int, rank: int, num_ranks: int, seed: int
    ) -> None:
        self.data, self.learnt, self.batch_size, self.seed = data, learnt, batch_size, seed
        self.accumulate, self.rank, self.num_ranks = accumulate, rank, num_ranks
        self.sampler = self  # where Lightning looks for set_epoch
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """The next pass is that of `epoch`, from 0."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size) * self.accumulate

    def __iter__(self) -> Iterator[Batch]:
        num_parts = self.num_ranks * self.accumulate
        batches = global_batches(self.data.lengths, self.batch_size, self.seed, "order", self.learnt, self.epoch)
        for indices in batches:
            counts = count(self.data[indices])
            for turn in range(self.accumulate):
                part = turn * self.num_ranks + self.rank
                mine = share(indices, part, num_parts)
                ghost = not len(mine)
                data = self.data[indices[:1] if ghost else mine]
                batch = collate(data, self.learnt, training=True, counts=counts, ghost=ghost)
                yield replace(batch, part=part, num_parts=num_parts)


class PassLoader:
    """One pass over a data set without duplicates, longest examples first, dealt to ranks by the example.

    `len` may differ by rank: nothing inside the pass may wait for other ranks.
    """

    def __init__(self, data: Dataset, learnt: int, *, batch_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        order = data.lengths.argsort(stable=True, descending=True)
        self.data, self.learnt = data[share(order, rank, num_ranks)], learnt
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.data), self.batch_size):
            yield collate(self.data[start : start + self.batch_size], self.learnt, training=False)


class ExperienceData(LightningDataModule):
    """One experience for `Trainer.fit`: its training data as the plugins left it."""

    def __init__(self, train: Dataset, learnt: int, *, batch_size: int, seed: int) -> None:
        super().__init__()
        self.train, self.learnt, self.batch_size, self.seed = train, learnt, batch_size, seed

    def train_dataloader(self) -> TrainLoader:
        """The training batches of this rank."""
        assert self.trainer is not None
        return TrainLoader(
            self.train,
            self.learnt,
            batch_size=self.batch_size,
            accumulate=self.trainer.accumulate_grad_batches,
            rank=self.trainer.global_rank,
            num_ranks=self.trainer.world_size,
            seed=self.seed,
        )
