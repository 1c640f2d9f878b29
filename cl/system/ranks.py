"""Which of several processes this is, and what they agree on."""

from __future__ import annotations

import torch
from lightning.pytorch.utilities import rank_zero_only


def is_first() -> bool:
    """Whether this process is rank 0: the one that writes files. Known before the process group exists."""
    return not getattr(rank_zero_only, "rank", 0)


def on_any(mine: bool) -> bool:
    """Whether it holds on any rank. Every rank asks, at the same place."""
    if not torch.distributed.is_initialized():
        return mine
    found = torch.tensor(float(mine), device="cuda" if torch.distributed.get_backend() == "nccl" else "cpu")
    torch.distributed.all_reduce(found)
    return bool(found)
