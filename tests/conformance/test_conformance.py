"""What every strategy promises. Being listed in STRATEGIES is being tested here."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from runs import assert_same, configured, learn, train

from cl.build import Prepared, build_learner
from cl.strategies import STRATEGIES

# Options that make a plugin quick on a tiny stream; a plugin that is missing here is tested with its defaults.
QUICK: dict[str, dict[str, Any]] = {
    "ewc": {"num_examples": 6, "strength": 10.0},
    "replay": {"capacity": 10, "batch_size": 5},
    "der": {"capacity": 10, "batch_size": 5},
    "der++": {"capacity": 10, "batch_size": 5},
    "er-ace": {"capacity": 10, "batch_size": 5},
    "agem": {"capacity": 10, "batch_size": 5},
    "gem": {"capacity": 10, "batch_size": 3},
    "gdumb": {"capacity": 14},
    "fgm": {"epsilon": 0.05},
}
KINDS = ("sequence", "token", "mixed")
WITH_STRENGTH = [name for name, plugin in STRATEGIES.items() if "strength" in plugin.__dataclass_fields__]
Get = Callable[[str], Prepared]


def options(name: str, **changes: Any) -> dict[str, Any]:
    return {name: QUICK.get(name, {}) | changes}


@pytest.mark.parametrize("stream", KINDS)
@pytest.mark.parametrize("name", STRATEGIES)
def test_split_invariance(prepared: Get, name: str, stream: str) -> None:
    """One global batch gives one update, however many micro-batches it is dealt to (3 do not divide 8)."""
    whole = train(prepared(stream), configured(stream, options(name)))
    dealt = train(prepared(stream), configured(stream, options(name), accumulate=3))
    assert_same(whole.weights, dealt.weights, 1e-6)
    assert_same(whole.plugins, dealt.plugins, 1e-6)
    assert whole.rows == dealt.rows


@pytest.mark.parametrize("name", WITH_STRENGTH)
def test_strength_0_is_finetuning_bit_for_bit(prepared: Get, name: str) -> None:
    finetuned = train(prepared("mixed"), configured("mixed", {}))
    off = {field: 0.0 for field in STRATEGIES[name].__dataclass_fields__ if "strength" in field}
    without = train(prepared("mixed"), configured("mixed", options(name, **off)))
    assert_same(finetuned.weights, without.weights)


@pytest.mark.parametrize("name", STRATEGIES)
def test_it_does_something(prepared: Get, name: str) -> None:
    finetuned = train(prepared("mixed"), configured("mixed", {}))
    protected = train(prepared("mixed"), configured("mixed", options(name)))
    changed = [
        not torch.equal(a, b) for a, b in zip(finetuned.weights.values(), protected.weights.values(), strict=True)
    ]
    assert any(changed)


@pytest.mark.parametrize("name", STRATEGIES)
def test_state_round_trip(prepared: Get, name: str) -> None:
    """A fresh learner that takes over weights and plugin state goes on as the old one would have."""
    config, data = configured("mixed", options(name)), prepared("mixed")
    straight = train(data, config)
    half = train(data, config, num_experiences=2)
    resumed = build_learner(config, data, "tested", seed=0)
    resumed.restore(half.learner.state())
    for index in (2, 3):
        learn(resumed, config, index, data)
    assert_same(straight.weights, resumed.network.state_dict())
    assert_same(straight.plugins, resumed.strategy.state_dict())
    assert straight.rows[-1] == resumed.row


@pytest.mark.parametrize("name", STRATEGIES)
def test_state_is_tensors_and_plain_values(prepared: Get, name: str, tmp_path: Any) -> None:
    end = train(prepared("mixed"), configured("mixed", options(name)), num_experiences=2)
    torch.save(end.plugins, tmp_path / "state.pt")
    assert_same(torch.load(tmp_path / "state.pt", weights_only=True), end.plugins)


@pytest.mark.parametrize("name", STRATEGIES)
def test_one_experience_is_finetuning(prepared: Get, name: str) -> None:
    """With nothing learnt before there is nothing to protect."""
    finetuned = train(prepared("token"), configured("token", {}), num_experiences=1)
    protected = train(prepared("token"), configured("token", options(name)), num_experiences=1)
    assert_same(finetuned.weights, protected.weights)


@pytest.mark.parametrize("pair", list(combinations(STRATEGIES, 2)), ids="+".join)
def test_composition_does_not_depend_on_order(prepared: Get, pair: tuple[str, str]) -> None:
    first, second = (options(name) for name in pair)
    one = train(prepared("mixed"), configured("mixed", first | second), num_experiences=3)
    other = train(prepared("mixed"), configured("mixed", second | first), num_experiences=3)
    assert_same(one.weights, other.weights, 1e-6)


@pytest.mark.parametrize("name", STRATEGIES)
def test_docstring_tells_what_a_user_asks(name: str) -> None:
    plugin = STRATEGIES[name]
    assert plugin.paper
    assert plugin.__doc__
    assert "Cost:" in plugin.__doc__
