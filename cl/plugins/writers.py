"""Several plugins that change the targets of a step: weights multiply, and one of them may write labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from cl.batches import Batch, Step, Targets
from cl.plugins.base import PluginError
from cl.types import Kind

T = TypeVar("T")


class Writers:
    """Who wrote labels in a step: one plugin at most, since a second would overwrite what the first has written."""

    def __init__(self) -> None:
        self.names: dict[Kind, str] = {}

    def watched(self, name: str, value: T, change: Callable[[T], T]) -> T:
        """What a plugin's `change` makes of a batch or a step; others' weights are multiplied by those it sets.

        Raises `PluginError` for a second plugin that writes the labels of a kind, and for one that loses a kind.
        """
        before = _targets(value)
        versions = {kind: targets.labels._version for kind, targets in before.items()}
        value = change(_with_weights(value, dict.fromkeys(before)))
        after = _targets(value)
        if missing := before.keys() - after.keys():
            raise PluginError(
                f"plugin {name!r} has dropped the targets of kind {', '.join(sorted(missing))}: keep them"
            )
        weights: dict[Kind, Tensor | None] = {}
        for kind, old in before.items():
            new = after[kind]
            if new.weights is not None and len(new.weights) != len(new):
                raise PluginError(f"plugin {name!r} gives {len(new.weights)} weights to {len(new)} targets ({kind})")
            places = _places(old, new)
            if versions[kind] != old.labels._version or _rewritten(old.labels, new.labels, places):
                self._note(kind, name)
            weights[kind] = _product(old.weights, new.weights, places)
        return _with_weights(value, weights)

    def _note(self, kind: Kind, name: str) -> None:
        if (first := self.names.setdefault(kind, name)) != name:
            raise PluginError(
                f"plugins {first!r} and {name!r} both write the labels of a step ({kind}), and one would overwrite "
                "the other: drop one of them"
            )


def _targets(value: Any) -> dict[Kind, Targets]:
    if isinstance(value, Batch):
        return value.targets
    return {kind: output.targets for kind, output in value.outputs.items()}


def _with_weights(value: T, weights: Mapping[Kind, Tensor | None]) -> T:
    targets = _targets(value)
    changed = {k: replace(targets[k], weights=w) for k, w in weights.items() if w is not targets[k].weights}
    if not changed:
        return value
    if isinstance(value, Batch):
        return replace(value, targets=targets | changed)
    assert isinstance(value, Step)
    outputs = {kind: replace(value.outputs[kind], targets=of_kind) for kind, of_kind in changed.items()}
    return replace(value, outputs=value.outputs | outputs)


def _places(old: Targets, new: Targets) -> Tensor | None:
    """Where each of the new targets stood among the old ones, −1 for one that has joined; None if all are as they were.

    Most plugins change nothing or add at the end; one that leaves examples out is found by the numbers of the words.
    """
    if new.words is old.words:
        return None
    if len(new) >= len(old) and torch.equal(new.words[: len(old)], old.words):
        places = torch.arange(len(new), device=new.words.device)
        return places.masked_fill(places >= len(old), -1)
    order = old.words.argsort(stable=True)
    words = old.words[order]
    found = torch.searchsorted(words, new.words).clamp(max=len(words) - 1)
    return torch.where(words[found] == new.words, order[found], -1)


def _product(given: Tensor | None, more: Tensor | None, places: Tensor | None) -> Tensor | None:
    """Weights that a plugin gives times those that were there, in their new places; 1 for what has joined."""
    if given is not None and places is not None:
        given = torch.where(places < 0, 1.0, given[places.clamp(min=0)]) if len(given) else given.new_ones(len(places))
    if given is None or more is None:
        return given if more is None else more
    return given * more


def _rewritten(old: Tensor, new: Tensor, places: Tensor | None) -> bool:
    """Whether the labels of targets that were there are others now."""
    if places is None:
        return new is not old and not torch.equal(new, old)
    return not torch.equal(new[places >= 0], old[places[places >= 0]])
