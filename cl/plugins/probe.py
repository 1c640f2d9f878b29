"""Frozen probe: the strong simple baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from cl.plugins.base import Tools
from cl.plugins.joint import Joint
from cl.types import Experience


@dataclass
class Probe(Joint):
    """Train the head alone, on the examples of all experiences so far: the backbone stays as it came.

    What a pretrained backbone knows without any learning of its own: a method that ends below it has not paid for
    its training. Cost: time grows with the number of experiences, though no backward pass enters the backbone.
    When to use it: as the simple baseline of every table on a pretrained backbone.
    """

    paper: ClassVar[str] = "Alain & Bengio, 2017: Understanding intermediate layers using linear classifier probes"
    from_the_start: ClassVar[bool] = True

    def adapt_model(self, tools: Tools, experience: Experience) -> None:
        tools.network.backbone.freeze()
