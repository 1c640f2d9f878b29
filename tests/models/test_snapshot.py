"""What trains is what is stored: frozen weights are there once, by reference and by hash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from cl.models.network import Network
from cl.models.snapshot import frozen_copy, snapshot, take_back
from cl.plugins.base import Plugin, stored_bytes
from cl.runs.prepare import Prepared
from cl.testing.tiny import assert_same, configured, fresh_learner, learn, train
from cl.testing.watching import fit_and_save, go_on, through_a_file
from cl.types import Experience, UserError

Get = Callable[[str], Prepared]


@dataclass
class Embeddings(Plugin):
    """Trains embeddings from the experience `start` on only."""

    start: int = 99

    def adapt_model(self, tools: Any, experience: Experience) -> None:
        tools.network.backbone.model.embeddings.requires_grad_(experience.index >= self.start)


NAME = f"{__name__}.Embeddings"


def of(network: Network) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parameters of embeddings, and the others."""
    named = dict(network.named_parameters())
    return {n: p for n, p in named.items() if ".embeddings." in n}, {
        n: p for n, p in named.items() if ".embeddings." not in n and not n.endswith("key.bias")
    }


def test_a_copy_shares_what_never_trained(prepared: Get) -> None:
    network = train(prepared("sequence"), configured("sequence", {NAME: {}}), 1).learner.network
    twin = frozen_copy(network)
    shared, own = of(network)
    for name, parameter in of(twin)[0].items():
        assert parameter is shared[name]
    for name, parameter in of(twin)[1].items():
        assert parameter.data_ptr() != own[name].data_ptr() and torch.equal(parameter, own[name])
    assert snapshot(network).keys() == snapshot(twin).keys()
    assert not snapshot(network).keys() & shared.keys() and snapshot(network).keys() >= own.keys()
    assert not twin.training and not any(p.requires_grad for p in twin.parameters())


def test_a_copy_that_is_cast_leaves_the_base_alone(prepared: Get) -> None:
    """Else the network's own frozen weights would take the teacher's precision."""
    network = train(prepared("sequence"), configured("sequence", {NAME: {}}), 1).learner.network
    twin = frozen_copy(network).to(torch.float16)
    assert {p.dtype for p in network.parameters()} == {torch.float64}
    assert {p.dtype for name, p in twin.named_parameters() if name in network.trained} == {torch.float16}


def test_buffers_of_a_copy_go_where_it_goes(prepared: Get) -> None:
    """Such as BERT's positions: a teacher that a checkpoint has left on the CPU could not be asked on a GPU."""
    twin = frozen_copy(train(prepared("sequence"), configured("sequence", {NAME: {}}), 1).learner.network)
    moved = []
    twin._apply(lambda tensor: moved.append(tensor) or tensor)
    assert {id(buffer) for buffer in twin.buffers()} <= {id(tensor) for tensor in moved}


def test_what_once_trained_stays_in_the_snapshot(prepared: Get) -> None:
    """A backbone that is frozen after the first experience is not what was loaded."""
    learner = train(prepared("sequence"), configured("sequence", {"seq*": {}}), 2).learner
    trained = {n for n, _ in learner.network.named_parameters() if not n.endswith("key.bias")}
    assert snapshot(learner.network).keys() >= trained
    assert learner.state()["network"].keys() == snapshot(learner.network).keys()


def test_weights_that_train_from_now_on_leave_earlier_copies_alone(prepared: Get) -> None:
    data, config = prepared("sequence"), configured("sequence", {NAME: {"start": 1}, "lwf": {}})
    learner = train(data, config, 1).learner
    teacher: Any = learner.strategy.plugins["lwf"].teacher  # type: ignore[attr-defined]
    before = {name: p.detach().clone() for name, p in teacher.named_parameters()}
    learn(learner, config, 1, data)
    assert_same(before, dict(teacher.named_parameters()))
    now = dict(learner.network.named_parameters())
    assert all(not torch.equal(before[name], now[name]) for name in of(learner.network)[0] if "LayerNorm" not in name)


def test_they_are_taken_up_again_as_they_were(prepared: Get) -> None:
    """The teacher stands upon embeddings that have trained since it was made."""
    data, config = prepared("sequence"), configured("sequence", {NAME: {"start": 1}, "lwf": {}})
    straight = train(data, config, 2)
    stopped = train(data, config, 1).learner
    stopped.begin(data.stream[1])
    _, saved = fit_and_save(stopped, config, every_steps=2)
    resumed = fresh_learner(config, data)
    go_on(resumed, config, saved[0])
    assert_same(straight.weights, resumed.network.state_dict())
    assert_same(straight.plugins, resumed.strategy.state_dict())


@pytest.mark.parametrize(("plugins", "copies"), [({"probe": {}}, 0), ({"probe": {}, "lwf": {}}, 1)])
def test_a_frozen_backbone_is_never_stored(prepared: Get, plugins: dict[str, Any], copies: int) -> None:
    learner = train(prepared("sequence"), configured("sequence", plugins), 2).learner
    heads = sum(p.nbytes for p in learner.network.heads.parameters())
    assert 0 < stored_bytes(learner.state()["network"]) == heads
    assert stored_bytes(learner.strategy.state_dict()) == copies * heads
    assert learner.state()["base"].keys() == learner.network.base().keys()


def test_other_weights_under_a_checkpoint_are_refused(prepared: Get) -> None:
    data, config = prepared("sequence"), configured("sequence", {"probe": {}})
    state = through_a_file(train(data, config, 1).learner.state())
    fresh_learner(config, data).restore(state)
    with pytest.raises(UserError, match=r"that do not train .* are others than those that the run began with"):
        fresh_learner(config, data, seed=1).restore(state)


def test_a_snapshot_of_another_network_is_refused(prepared: Get) -> None:
    network = train(prepared("sequence"), configured("sequence", {}), 1).learner.network
    state = dict(snapshot(network))
    with pytest.raises(KeyError, match=r"no snapshot of this network: heads\.sequence\.bias"):
        take_back(network, {name: t for name, t in state.items() if name != "heads.sequence.bias"})
    with pytest.raises(KeyError, match="no snapshot of this network: more"):
        take_back(network, state | {"more": torch.zeros(1)})


@dataclass
class Merges(Embeddings):
    """Freezes embeddings and changes them itself."""

    def after_experience(self, tools: Any, experience: Experience) -> None:
        tools.network.backbone.model.embeddings.word_embeddings.weight.data.mul_(1.5)


def test_frozen_weights_that_a_plugin_changes_are_found(prepared: Get) -> None:
    """No checkpoint would hold them."""
    with pytest.raises(RuntimeError, match=r"a plugin has changed backbone\.model\.embeddings\.word_embeddings"):
        train(prepared("sequence"), configured("sequence", {f"{__name__}.Merges": {}}), 1)


def test_a_run_may_change_its_precision(prepared: Get) -> None:
    """The hash is that of the weights as they were loaded, whatever they were cast to since."""
    data, config = prepared("sequence"), configured("sequence", {"probe": {}}, precision="32-true")
    learner = train(data, config, 1).learner
    for precision in ("bf16-true", "32-true"):
        config, state = configured("sequence", {"probe": {}}, precision=precision), through_a_file(learner.state())
        learner = fresh_learner(config, data)
        learner.restore(state)
        learn(learner, config, learner.experience.index + 1, data)
    assert learner.experience.index == 2


def test_what_is_stored_does_not_depend_on_the_order_of_plugins(prepared: Get) -> None:
    sizes = []
    for plugins in ({"independent": {}, "probe": {}}, {"probe": {}, "independent": {}}):
        state = train(prepared("sequence"), configured("sequence", plugins), 2).learner.state()
        sizes.append((stored_bytes(state["network"]), stored_bytes(state["plugins"]), sorted(state["base"])))
    assert sizes[0] == sizes[1] and sizes[0][0] < 2000


def test_a_copy_stays_frozen_as_weights_begin_to_train(prepared: Get) -> None:
    """And what a plugin has hooked onto those that train stays where it is."""
    data, config = prepared("sequence"), configured("sequence", {NAME: {"start": 1}, "lwf": {}})
    learner = train(data, config, 1).learner
    teacher: Any = learner.strategy.plugins["lwf"].teacher  # type: ignore[attr-defined]
    before = dict(learner.network.named_parameters())
    learner.begin(data.stream[1])
    assert not any(p.requires_grad for p in teacher.parameters())
    assert all(p is before[name] for name, p in of(learner.network)[0].items())
    assert snapshot(teacher).keys() < snapshot(learner.network).keys()
