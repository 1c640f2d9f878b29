"""From rows of the store to a padded batch, without touching single items."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import pad

from cl.batches import Batch, Targets
from cl.data.dataset import Dataset, ragged
from cl.types import KINDS, Kind

Counts = dict[Kind, tuple[int, int]]


def count(data: Dataset) -> Counts:
    """Examples and valid targets of each kind."""
    store = data.store
    words, owner = ragged(store.word_offsets, data.rows)
    of_token = store.is_token[data.rows]
    valid = store.positions[words] >= 0
    token = int(of_token.sum()), int((valid & of_token[owner]).sum())
    return {"sequence": (len(data) - token[0], int(valid.sum()) - token[1]), "token": token}


def collate(
    data: Dataset, learnt: int, *, training: bool, counts: Counts | None = None, placeholder: bool = False
) -> Batch:
    """All of `data` as one batch, padded to its longest example.

    `learnt`: the experience up to which the heads have grown. `training`: an old example's `O` says
    nothing of entity types that it had no labels for. `counts`: of the global batch (default: of this one).
    `placeholder`: the examples pass through the network and have no target, so that a rank whose share of the
    global batch is empty still takes part.
    """
    store = data.store
    tokens, owner = ragged(store.offsets, data.rows)
    lengths = data.lengths
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    input_ids = torch.full(mask.shape, store.pad, dtype=torch.int64)
    input_ids[mask] = store.ids[tokens].long()
    types = None
    if store.types is not None:
        types = torch.zeros_like(input_ids)
        types[mask] = store.types[tokens].long()
    words, owner = ragged(store.word_offsets, data.rows)
    positions = store.positions[words].long()
    keep = torch.zeros_like(positions, dtype=torch.bool) if placeholder else positions >= 0
    of_token = store.is_token[data.rows[owner]]
    targets = {}
    for kind in (kind for kind in KINDS if store.views.width(learnt, kind)):
        chosen = keep & (of_token == (kind == "token"))
        rows, at = owner[chosen], words[chosen]
        labels = store.columns(at, data.view[rows])
        targets[kind] = Targets(
            rows, positions[chosen], labels, at, _candidates(data, kind, rows, labels, learnt, training)
        )
    return Batch(input_ids, mask.long(), data.experience, data.rows, targets, counts or count(data), types=types)


def concat(batch: Batch, other: Batch) -> Batch:
    """Both batches as one: padded to the longer, counts added up."""
    length = max(batch.input_ids.shape[1], other.input_ids.shape[1])

    def padded(first: Tensor, second: Tensor) -> Tensor:
        return torch.cat([pad(t, (0, length - t.shape[1])) for t in (first, second)])

    return replace(
        batch,
        input_ids=padded(batch.input_ids, other.input_ids),
        attention_mask=padded(batch.attention_mask, other.attention_mask),
        types=None if batch.types is None or other.types is None else padded(batch.types, other.types),
        experience=torch.cat([batch.experience, other.experience]),
        row=torch.cat([batch.row, other.row]),
        targets={kind: _concat(batch.targets[kind], other.targets[kind], len(batch)) for kind in batch.targets},
        counts=add_counts(batch.counts, other.counts),
    )


def add_counts(first: Counts, second: Counts) -> Counts:
    """Counts of both."""
    return {kind: (n + second[kind][0], m + second[kind][1]) for kind, (n, m) in first.items()}


def _concat(first: Targets, second: Targets, num_rows: int) -> Targets:
    candidates = None
    if first.candidates is not None or second.candidates is not None:
        width = next(t.candidates.shape[1] for t in (first, second) if t.candidates is not None)
        every = [
            first.rows.new_ones(len(t), width, dtype=torch.bool) if t.candidates is None else t.candidates
            for t in (first, second)
        ]
        candidates = torch.cat(every)
    return Targets(
        torch.cat([first.rows, second.rows + num_rows]),
        torch.cat([first.positions, second.positions]),
        torch.cat([first.labels, second.labels]),
        torch.cat([first.words, second.words]),
        candidates,
        _weights(first, second),
    )


def _weights(first: Targets, second: Targets) -> Tensor | None:
    given = [t.weights for t in (first, second) if t.weights is not None]
    if not given:
        return None
    return torch.cat([given[0].new_ones(len(t)) if t.weights is None else t.weights for t in (first, second)])


def _candidates(data: Dataset, kind: Kind, rows: Tensor, labels: Tensor, learnt: int, training: bool) -> Tensor | None:
    views, width = data.store.views, data.store.views.width(learnt, kind)
    partly = (data.view != views.own(learnt)) & (data.view != views.everything(learnt))
    old = partly & (training and kind == "token")
    if not any(views.private) and not old.any():
        return None
    view, columns = data.view[rows], torch.arange(width)
    first, end = views.candidates[view].T.unsqueeze(2)
    candidates: Tensor = (columns >= first) & (columns < end)
    if old.any():
        outside = labels == 0  # O arrives first in a head that experiences share
        candidates &= views.labelled[view, :width] | ~(old[rows] & outside)[:, None]
    return candidates
