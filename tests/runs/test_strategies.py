"""From a configuration to strategies: plugins by name, by path, and several of a kind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from cl.runs.prepare import Prepared
from cl.runs.strategies import build_strategy
from cl.testing.tiny import configured, train
from cl.types import UserError

TWO: dict[str, Any] = {
    "old": {"plugin": "replay", "capacity": 8, "batch_size": 4},
    "new": {"plugin": "replay", "capacity": 8, "batch_size": 4},
}


def test_a_plugin_may_stand_there_twice_by_names_of_its_own(prepared: Callable[[str], Prepared]) -> None:
    """Each with a memory, a term and draws of its own."""
    logged: set[str] = set()

    def listen(learner: Any) -> None:
        learner.sinks = [lambda experience, epoch, step, values: logged.update(values)]

    end = train(prepared("sequence"), configured("sequence", TWO), change=listen)
    assert list(end.learner.strategy.plugins) == ["old", "new"]
    old, new = (end.learner.strategy.plugins[name].buffer.rows for name in ("old", "new"))  # type: ignore[attr-defined]
    assert len(old) == len(new) == 8
    assert not torch.equal(old.sort().values, new.sort().values), "the same draws"
    alone = train(prepared("sequence"), configured("sequence", {"replay": {"capacity": 8, "batch_size": 4}}))
    assert not torch.equal(end.weights["heads.sequence.weight"], alone.weights["heads.sequence.weight"])


def test_what_excludes_its_like_is_refused_twice() -> None:
    with pytest.raises(UserError, match=r"two: a cannot work together with b: the second projection breaks"):
        build_strategy({"a": {"plugin": "gem"}, "b": {"plugin": "agem"}}, "two")


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ({"mine": {}}, "strategies.s.mine: there is no plugin 'mine'.*a name of your own needs the key `plugin`"),
        ({"ewcc": {}}, "there is no plugin 'ewcc'. Did you mean 'ewc'"),
        ({"mine": {"plugin": "ewcc"}}, "strategies.s.mine: there is no plugin 'ewcc'. Did you mean 'ewc'"),
        ({"mine": {"plugin": 3}}, "strategies.s.mine.plugin is 3: give the name of a plugin"),
        ({"mine": {"plugin": "ewc", "strenth": 3}}, "strategies.s.mine: there is no option 'strenth'"),
    ],
)
def test_plugins_that_are_not_there(plugins: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_strategy(plugins, "s")


def test_options_where_a_plugin_was_expected() -> None:
    with pytest.raises(
        UserError, match=r"write the plugin below the strategy's name, {replay: {replay: {capacity: 50}}}"
    ):
        build_strategy({"capacity": 50}, "replay")


def test_a_plugin_that_works_on_an_adapter_says_so() -> None:
    with pytest.raises(UserError, match=r"strategies\.mine\.o-lora needs an adapter of kind lora, and .* is empty"):
        build_strategy({"o-lora": {}}, "mine", {})
    with pytest.raises(UserError, match=r"and network\.adapter is \{'kind': 'ia3'\}: set it to \{kind: lora, …\}"):
        build_strategy({"o-lora": {}}, "mine", {"kind": "ia3"})
    build_strategy({"o-lora": {}}, "mine", {"kind": "lora"})
    build_strategy({"o-lora": {}}, "mine")
