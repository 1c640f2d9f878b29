"""SEQ*: sequential finetuning with nothing left to forget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cl.plugins.base import Tools
from cl.plugins.shared.fixed_rows import FixedRows
from cl.types import Experience


@dataclass
class SeqStar(FixedRows):
    """Train everything on the first experience, then only the head rows of classes that are new.

    The encoder is frozen and old rows are fixed once the first experience has warmed them up. Where later
    experiences bring no class, as in domain-incremental streams, nothing is left to train. `network.head: cosine`
    gives the variant with a cosine head. Cost: that of finetuning, and no backward pass through the encoder after
    the first experience. When to use it: as the simple baseline of class-incremental streams on a pretrained encoder.
    """

    paper: ClassVar[str] = (
        "Zheng, Qiu & Ma, 2024: Learn or recall? Revisiting incremental learning with pre-trained language models"
    )
    excludes: ClassVar[dict[str, str]] = {"restarts": "what the first experience taught is all that it builds upon"}

    def adapt_model(self, tools: Tools, experience: Experience) -> None:
        super().adapt_model(tools, experience)
        if experience.index:
            tools.network.backbone.freeze()
