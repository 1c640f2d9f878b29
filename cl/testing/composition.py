"""How two plugins get on with each other: the same in either order, or refused with a reason."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from cl.plugins import PLUGINS
from cl.plugins.base import Plugin, PluginError
from cl.testing.promises import TOLERANCE, Subject, promise_on
from cl.testing.tiny import assert_same, configured, train
from cl.testing.watching import overrides
from cl.types import UserError

COMPOSED: dict[str, dict[str, Any]] = {
    "mixed": {"max_epochs": 1, "num_experiences": None},
    "token": {"max_epochs": 2, "num_experiences": 2},
}
"""How much of a stream two plugins are trained on: of each kind there is something old, and no more than that."""


@promise_on(*COMPOSED)
def it_composes_or_is_refused(subject: Subject, stream: str) -> None:
    """With a listed plugin of each kind: in either order the same, or refused with a reason."""
    for name in distinct(PLUGINS):
        if name != subject.name:
            composes(subject, Subject.listed(name), stream)


def distinct(names: Iterable[str]) -> list[str]:
    """Of these listed plugins, the first of each kind."""
    first: dict[object, str] = {}
    for name in names:
        first.setdefault(kind_of(name), name)
    return list(first.values())


def kind_of(name: str) -> tuple[frozenset[str], frozenset[str]]:
    """What decides how a listed plugin gets on with others: what of `Plugin` it fills in, and its traits."""
    plugin = PLUGINS[name]
    return frozenset(seam for seam in vars(Plugin) if overrides(plugin, seam)), plugin.traits


def composes(subject: Subject, other: Subject, stream: str) -> None:
    """Two plugins do the same in either order, or are refused with a reason before training."""
    ends, length = [], COMPOSED[stream]
    on = other if other.adapter and not subject.adapter else subject
    for plugins in (subject.strategy() | other.strategy(), other.strategy() | subject.strategy()):
        config = configured(stream, plugins, backbone=on.backbone, adapter=on.adapter, max_epochs=length["max_epochs"])
        try:
            ends.append(train(on.prepared(stream), config, length["num_experiences"]))
        except UserError:
            continue  # it says which two, and why
        except PluginError as error:
            raise AssertionError(f"with {other.name}: {error}") from error
    assert len(ends) != 1, f"with {other.name}: refused in one order only"
    if ends:
        try:
            assert_same(ends[0].weights, ends[1].weights, TOLERANCE)
        except AssertionError as error:
            raise AssertionError(f"with {other.name} the order matters: {error}") from None
        finite = all(bool(weight.isfinite().all()) for weight in ends[0].weights.values())
        assert finite, f"with {other.name} weights are not finite"
