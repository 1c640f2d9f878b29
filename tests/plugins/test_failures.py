"""What goes wrong in a step is named: the loss term that is not finite, the plugin and seam that raised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from cl.plugins.base import Plugin, PluginError, Tools
from cl.plugins.strategy import Strategy
from cl.runs.prepare import Prepared
from cl.testing.tiny import configured, train
from cl.training.outcome import Diverged
from cl.types import UserError


def test_a_loss_that_is_not_finite(prepared: Callable[[str], Prepared]) -> None:
    config = configured("sequence", {})
    config = replace(config, training=replace(config.training, learning_rate=1e300))
    with pytest.raises(Diverged, match=r"not finite in experience 0 \(books\), step [1-9]\d*: labels = nan"):
        train(prepared("sequence"), config)


def test_a_plugin_that_raises() -> None:
    class Broken(Plugin):
        def after_step(self, tools: Tools) -> None:
            raise ZeroDivisionError("oh")

    with pytest.raises(PluginError, match="plugin 'broken' failed in after_step: ZeroDivisionError: oh"):
        Strategy({"broken": Broken()}).after_step(None)


@pytest.mark.parametrize(
    ("name", "near"),
    [("after_steps", "after_step"), ("on_gradient", "on_gradients"), ("before_experiance", "before_experience"),
     ("trainData", None), ("distance", None), ("_on_step", None)],
)  # fmt: skip
def test_a_misspelt_seam_is_told_where_the_plugin_is_written(name: str, near: str | None) -> None:
    if near is None:
        type("Mine", (Plugin,), {name: lambda self: None})
        return
    with pytest.raises(UserError, match=rf"Mine: {name} is no seam, and nothing would call it; did you mean '{near}'"):
        type("Mine", (Plugin,), {name: lambda self: None})
