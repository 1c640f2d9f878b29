"""What a network is made of, as a configuration names it. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Pooling = Literal["mean", "first", "last"]
AskedPooling = Literal["auto", "mean", "first", "last"]
Attention = Literal["auto", "causal", "bidirectional"] | int  # an integer: the first layer that sees all tokens
Precision = Literal["float32", "bfloat16"]
ReadoutName = Literal["linear", "cosine", "verbaliser"]
Word = Literal["auto", "first", "last"]


@dataclass
class Scratch:
    """The size of a `scratch` backbone: a small BERT with random weights and a vocabulary from the stream."""

    hidden: int = 128
    """Width; a multiple of heads."""
    layers: int = 2
    """Transformer layers."""
    heads: int = 4
    """Attention heads."""
    vocabulary: int = 4000
    """Word pieces at most."""
