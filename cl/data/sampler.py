"""Who is in which batch: a function of (seed, experience, epoch) only, whatever the number of ranks."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

WINDOW = 50  # batches that are sorted by length together: wide enough for little padding, narrow enough to mix


def derive_seed(*key: object) -> int:
    """A seed that is a function of the key alone: stable across processes, platforms and versions."""
    return int.from_bytes(hashlib.sha256(repr(key).encode()).digest()[:8], "big") >> 1


def generator(*key: object) -> torch.Generator:
    """A generator on the CPU, seeded by the key: every rank that asks with the same key gets the same one."""
    return torch.Generator().manual_seed(derive_seed(*key))


def global_batches(lengths: Tensor, batch_size: int, *key: object) -> list[Tensor]:
    """All examples once, in shuffled batches of similar lengths.

    `lengths`: int64 `[examples]`. The examples are shuffled, sorted by length within windows of some batches,
    cut, and the batches shuffled; every batch has `batch_size` examples but one, which may be smaller.

    >>> batches = global_batches(torch.tensor([5, 2, 9, 3, 4]), 2, "any", "key")
    >>> sorted(len(batch) for batch in batches), sorted(torch.cat(batches).tolist())
    ([1, 2, 2], [0, 1, 2, 3, 4])
    """
    draw = generator(*key)
    order = torch.randperm(len(lengths), generator=draw)
    windows = torch.split(order, WINDOW * batch_size)
    batches = [batch for w in windows for batch in torch.split(w[lengths[w].argsort(stable=True)], batch_size)]
    return [batches[i] for i in torch.randperm(len(batches), generator=draw).tolist()]


def token_batches(lengths: Tensor, max_tokens: int, *key: object) -> list[Tensor]:
    """All examples once, shortest first, in batches that hold at most `max_tokens` once padded.

    A longer example is a batch of its own. Examples of one length are shuffled; batches are as many under any key.

    >>> [batch.tolist() for batch in token_batches(torch.tensor([5, 2, 9, 3]), 6)]
    [[1, 3], [0], [2]]
    """
    order = torch.randperm(len(lengths), generator=generator(*key))
    order = order[lengths[order].argsort(stable=True)]
    batches, start = [], 0
    for end, length in enumerate(lengths[order].tolist()):
        if end > start and (end + 1 - start) * length > max_tokens:
            batches.append(order[start:end])
            start = end
    return [*batches, order[start:]]


def share(indices: Tensor, part: int, num_parts: int) -> Tensor:
    """The part-th of `num_parts` shares, dealt in turn so that shares of a sorted batch have like lengths.

    >>> [share(torch.arange(5), part, 2).tolist() for part in range(2)]
    [[0, 2, 4], [1, 3]]
    """
    return indices[part::num_parts]
