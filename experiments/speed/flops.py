"""Arithmetic of an encoder on real tokens, and the machine's rate of it."""

from __future__ import annotations

from functools import cache

import torch
from peers import Peer, whole
from torch import Tensor, nn


def forward_flops(peer: Peer, lengths: Tensor) -> float:
    """Two operations for each weight of the layers and each token, and attention within each example."""
    matrices = sum(m.weight.numel() for m in peer.model.base_model.encoder.modules() if isinstance(m, nn.Linear))
    config = peer.model.config
    attention = 4 * config.hidden_size * config.num_hidden_layers * lengths.double().square().sum()
    return float(2 * matrices * lengths.sum() + attention)


@cache
def peak(bf16: bool, size: int = 1024) -> float:
    """Operations a second of a square product of matrices: the best of 20."""
    a, b = (torch.randn(size, size, dtype=torch.bfloat16 if bf16 else torch.float32) for _ in range(2))
    return 2 * size**3 / min(whole(lambda: torch.mm(a, b)) for _ in range(20))
