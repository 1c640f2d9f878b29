"""Which of several processes this is."""

from __future__ import annotations

from lightning.pytorch.utilities import rank_zero_only


def is_first() -> bool:
    """Whether this process is rank 0: the one that writes files. Known before the process group exists."""
    return not getattr(rank_zero_only, "rank", 0)
