"""BitFit: the biases train (Ben Zaken, Goldberg & Ravfogel, 2022). Where a family has none, its norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from cl.models.adapters.layers import norms


@dataclass
class Options:
    """None of its own."""


def build(model: nn.Module, values: dict[str, Any], places: list[str]) -> None:
    """Lets the biases train, or the norms' weights."""
    for name in _biases(model, places) or _norms(model, places):
        model.get_parameter(name).requires_grad_(True)


def note(model: nn.Module, places: list[str]) -> str:
    """What trains instead of biases."""
    if _biases(model, places):
        return ""
    return f"network.adapter: a {type(model).__name__} has no biases to adapt: bitfit trains the weights of its norms"


def _biases(model: nn.Module, places: list[str]) -> list[str]:
    names = (name for name, _ in model.named_parameters() if name.startswith(tuple(places)))
    return [name for name in names if name.endswith("bias")]


def _norms(model: nn.Module, places: list[str]) -> list[str]:
    return [f"{name}.weight" for name in norms(model) if name.startswith(tuple(places))]
