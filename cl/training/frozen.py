"""The frozen part of a network, kept of the examples that come again."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cl.batches import Batch
from cl.data.collate import collate
from cl.data.dataset import Dataset
from cl.data.module import ExperienceData
from cl.models.frozen import FrozenPart
from cl.plugins.base import Tools


def keep_trained_on(tools: Tools, plan: ExperienceData, others: Sequence[Dataset]) -> None:
    """Makes room for what layers below all that trains make of the examples of an experience, and of others that come
    with them. Where there is one epoch alone, nothing comes again.
    """
    if plan.num_steps > plan.steps_per_epoch:
        _prepare(tools.network.frozen, tools, [plan.train, *others])


def keep_scored(tools: Tools, num_experiences: int) -> None:
    """The same of all that is scored after each experience, for the whole stream."""
    part = tools.network.frozen_tests
    if num_experiences > 1 and not part.stands(tools.network.backbone):
        _prepare(part, tools, [tools.store.dataset(index, "test") for index in range(num_experiences)])


def _prepare(part: FrozenPart, tools: Tools, of: Sequence[Dataset]) -> None:
    def rows_of(rows: Tensor) -> Dataset:
        return tools.store.of(rows, torch.zeros_like(rows))

    def batch_of(rows: Tensor) -> Batch:
        batch = collate(rows_of(rows), tools.experience.index, training=False, placeholder=True)
        return batch.to(tools.device)

    rows = torch.unique(torch.cat([data.rows for data in of]))
    part.prepare(tools.network.backbone, rows, rows_of(rows).lengths, batch_of)
