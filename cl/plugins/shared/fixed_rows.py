"""What plugins share that keep old head rows exactly as they are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from cl.plugins.base import Gradients, Plugin, Tools
from cl.plugins.maths.algebra import set_rows
from cl.types import Experience


@dataclass
class FixedRows(Plugin):
    """Keeps the head rows of earlier experiences: neither gradient nor weight decay nor momentum moves them.

    Their gradient is zero for whoever takes it, so that clipping does not see them and no other plugin need know;
    what the optimizer does to them all the same is undone after the step.
    """

    def adapt_model(self, tools: Tools, experience: Experience) -> None:
        for parameter, num_rows in _old_rows(tools, experience):
            parameter.register_hook(partial(_without_rows, num_rows))  # type: ignore[no-untyped-call]

    def on_gradients(self, tools: Tools, gradients: Gradients) -> Gradients:
        self._fixed = [(p, p[:n].detach().clone()) for p, n in _old_rows(tools, tools.experience)]
        return gradients

    def after_step(self, tools: Tools) -> None:
        for parameter, rows in self._fixed:
            set_rows(parameter.data, None, rows)


def _old_rows(tools: Tools, experience: Experience) -> list[tuple[nn.Parameter, int]]:
    """The parameters of heads that have a row a column, and how many of their rows came before this experience."""
    if not experience.index:
        return []
    known = tools.store.views.classes[experience.index - 1]
    heads = [(tools.network.head(kind), len(names)) for kind, names in known.items()]
    return [(p, n) for head, n in heads for p in head.parameters() if p.ndim and len(p) == head.num_columns]


def _without_rows(num_rows: int, gradient: Tensor) -> Tensor:
    gradient = gradient.clone()
    gradient[:num_rows] = 0.0
    return gradient
