"""Loaders: the batches of an experience as Lightning wants them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from cl.batches import Batch
from cl.data.collate import collate, count
from cl.data.dataset import Dataset
from cl.data.sampler import generator, global_batches, share, token_batches


class TrainLoader:
    """This rank's micro-batches of an experience, from optimizer step `start` to the last of `num_steps`.

    A global batch of `batch_size` examples is dealt to ranks × `accumulate` shares. An empty share is one
    example without targets, so that every rank takes every step. Epochs follow each other without a seam:
    where training stands is one number, the step.
    """

    def __init__(self, plan: ExperienceData, *, accumulate: int, rank: int, num_ranks: int) -> None:
        self.plan, self.accumulate, self.rank, self.num_ranks = plan, accumulate, rank, num_ranks

    def __len__(self) -> int:
        return (self.plan.num_steps - self.plan.start) * self.accumulate

    def __iter__(self) -> Iterator[Batch]:
        data, learnt = self.plan.train, self.plan.learnt
        num_parts = self.num_ranks * self.accumulate
        for indices in self.plan.global_batches():
            counts = count(data[indices])
            for turn in range(self.accumulate):
                part = turn * self.num_ranks + self.rank
                mine = share(indices, part, num_parts)
                placeholder = not len(mine)
                batch = collate(
                    data[indices[:1] if placeholder else mine],
                    learnt,
                    training=True,
                    counts=counts,
                    placeholder=placeholder,
                )
                yield replace(batch, part=part, num_parts=num_parts)


class PassLoader:
    """One pass over a data set without duplicates, longest examples first, dealt to ranks by the text.

    The windows of a text all go to the rank of its longest, which scores the text as a whole.

    `len` may differ by rank: nothing inside the pass may wait for other ranks.
    """

    def __init__(self, data: Dataset, learnt: int, *, batch_size: int, rank: int = 0, num_ranks: int = 1) -> None:
        order = data.lengths.argsort(stable=True, descending=True)
        mine = torch.isin(data.store.text[data.rows[order]], share(_texts(data[order]), rank, num_ranks))
        self.data, self.learnt = data[order[mine]], learnt
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.data), self.batch_size):
            yield collate(self.data[start : start + self.batch_size], self.learnt, training=False)


def _texts(data: Dataset) -> Tensor:
    """The texts of a data set's rows, in the order in which they first come."""
    texts, place = torch.unique(data.store.text[data.rows], return_inverse=True)
    first = torch.full_like(texts, len(data)).scatter_reduce(0, place, torch.arange(len(data)), "amin")
    in_order: Tensor = texts[first.argsort()]
    return in_order


class ExperienceData(LightningDataModule):
    """One experience for `Trainer.fit`: what to train on, as the plugins left it, for how long, from where.

    `max_epochs` passes of `batch_size` examples a step, or with `batch_tokens` of at most so many tokens; at most
    `max_steps` steps in all (None: no limit). `limit_train_batches`: so many of an epoch's batches, or this share of
    them, at least one; `overfit_batches`: the same, and in each epoch those of the first (None: all). A batch is one
    optimizer step. `start`: steps already taken; `shuffle`: false takes the examples in the order of the data.
    """

    def __init__(
        self,
        train: Dataset,
        learnt: int,
        *,
        batch_size: int,
        batch_tokens: int | None = None,
        max_epochs: int,
        max_steps: int | None = None,
        limit_train_batches: int | float | None = None,
        overfit_batches: int | float | None = None,
        seed: int,
        start: int = 0,
        shuffle: bool = True,
    ) -> None:
        super().__init__()
        self.train, self.learnt, self.batch_size, self.seed, self.start = train, learnt, batch_size, seed, start
        self.batch_tokens, self.shuffle = batch_tokens, shuffle
        self.same_batches = overfit_batches is not None
        limit = overfit_batches if overfit_batches is not None else limit_train_batches
        self.steps_per_epoch = _limited(len(self._epoch(0)), limit)
        self.num_steps = self.steps_per_epoch * max_epochs
        if max_steps is not None:
            self.num_steps = min(self.num_steps, max_steps)

    def global_batches(self) -> Iterator[Tensor]:
        """The positions of each step's examples, from `start` on."""
        for step in range(self.start, self.num_steps):
            epoch, place = divmod(step, self.steps_per_epoch)
            if place == 0 or step == self.start:
                batches = self._epoch(0 if self.same_batches else epoch)
            yield batches[place]

    def _epoch(self, epoch: int) -> Sequence[Tensor]:
        if not self.shuffle:
            return torch.split(torch.arange(len(self.train)), self.batch_size)
        key = self.seed, "order", self.learnt, epoch
        if self.batch_tokens is None:
            return global_batches(self.train.lengths, self.batch_size, *key)
        batches = token_batches(self.train.lengths, self.batch_tokens, *key)
        return [batches[i] for i in torch.randperm(len(batches), generator=generator(*key, "batches")).tolist()]

    def train_dataloader(self) -> TrainLoader:
        """The training batches of this rank."""
        trainer = self.trainer
        assert trainer is not None
        return TrainLoader(
            self, accumulate=trainer.accumulate_grad_batches, rank=trainer.global_rank, num_ranks=trainer.world_size
        )


def _limited(num_batches: int, limit: int | float | None) -> int:
    """How many of so many batches are taken: all, at most a number of them, or a share."""
    if limit is None:
        return num_batches
    return min(num_batches, limit) if isinstance(limit, int) else max(1, int(num_batches * limit))
