"""What a cell will take, told before anything trains: exact where numbers of a tiny network can be."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.plugins.base import Plugin
from cl.runs import needs as module
from cl.runs.learners import trainer_of
from cl.runs.needs import Needs, Room, needs_of, refuse_what_cannot_fit, warnings_of
from cl.runs.prepare import Prepared
from cl.system import room
from cl.system.meter import Meter
from cl.testing.tiny import configured, options, train
from cl.types import UserError

Get = Callable[[str], Prepared]
ROOM = Room(10**12, 1, on_gpu=False)


def needs(prepared: Prepared, plugins: dict[str, Any], precision: str = "32-true", **network: Any) -> Needs:
    config = configured("sequence", plugins, precision=precision)
    config = replace(config, network=replace(config.network, **network))
    return needs_of(config, prepared.backbone, prepared.evaluator, ["tested"])[0]


def test_weights_gradients_and_states_are_counted_exactly(prepared: Get) -> None:
    """Of all that trains, heads of all classes too, and in the precision that trains."""
    end = train(prepared("sequence"), configured("sequence", {}, max_epochs=1))
    total = sum(p.numel() for p in end.learner.network.parameters())
    # Key biases of tiny networks are held by their trainer, not by a strategy; a pooler never trains.
    unused = prepared("sequence").backbone.facts.unused
    idle = sum(p.numel() for n, p in prepared("sequence").backbone.model.named_parameters() if n in unused)
    for precision, num_bytes in (("32-true", 4), ("64-true", 8)):
        found = needs(prepared("sequence"), {}, precision)
        assert (found.num_parameters, found.num_trained) == (total, total - idle)
        assert found.parts["weights"] == num_bytes * total
        assert found.parts["gradients"] == num_bytes * found.num_trained
        assert found.parts["optimizer"] == 2 * found.parts["gradients"]


def test_a_probe_trains_its_head_alone(prepared: Get) -> None:
    found, hidden = needs(prepared("sequence"), {"probe": {}}), prepared("sequence").backbone.hidden
    assert found.num_trained == 2 * (hidden + 1)
    assert found.parts["passes"] < needs(prepared("sequence"), {}).parts["passes"]


def test_what_trains_in_any_experience_counts(prepared: Get) -> None:
    """`seq*` trains everything at first, and little in the end."""
    everything = needs(prepared("sequence"), {}).num_trained
    assert needs(prepared("sequence"), {"seq*": {}}).num_trained == everything


@pytest.mark.parametrize(("plugin", "copies"), [("ewc", 5), ("l2", 4), ("lwf", 2), ("independent", 5), ("replay", 0)])
def test_copies_that_plugins_keep_are_among_those_counted(prepared: Get, plugin: str, copies: int) -> None:
    """What is left of them at the end, and no more than what is held while new ones are made."""
    end = train(prepared("sequence"), configured("sequence", options(plugin), precision="32-true", max_epochs=1))
    state = end.learner.strategy.plugins[plugin].state_dict()
    kept = sum(t.nbytes for t in _tensors(state) if t.is_floating_point())
    found = needs(prepared("sequence"), options(plugin))
    assert found.parts[plugin] == copies * found.parts["gradients"]
    assert kept <= found.parts[plugin] + 1000


def test_more_is_counted_for_larger_batches_and_what_joins_them(prepared: Get) -> None:
    few = needs(prepared("sequence"), {}).parts["passes"]
    assert needs(prepared("sequence"), {"replay": {"batch_size": 8}}).parts["passes"] > 1.5 * few


def test_counting_leaves_the_backbone_as_it_is(prepared: Get) -> None:
    backbone = prepared("sequence").backbone
    before = {name: (p.clone(), p.requires_grad) for name, p in backbone.named_parameters()}
    state = torch.get_rng_state()
    needs(prepared("sequence"), {"probe": {}})
    assert torch.equal(state, torch.get_rng_state())
    for name, p in backbone.named_parameters():
        assert torch.equal(p, before[name][0])
        assert p.requires_grad == before[name][1]
        assert p.grad is None


def test_own_weights_in_half_precision_are_warned_of(prepared: Get) -> None:
    """By what trains in it: not under a probe, and not in float32."""
    half = [needs(prepared("sequence"), plugins, "bf16-true") for plugins in ({}, {"probe": {}})]
    assert [each.rounds for each in half] == [True, False]
    assert "small steps are lost in rounding, and many weights never move" in warnings_of(half, ROOM)[0]
    assert not warnings_of([needs(prepared("sequence"), {})], ROOM)


def test_what_surely_does_not_fit_is_refused_and_what_may_not_is_warned_of(
    prepared: Get, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by weights, gradients and copies alone: passes over batches are an estimate."""
    ewc, config = needs(prepared("sequence"), options("ewc")), configured("sequence", options("ewc"), precision=32)
    arguments = config, prepared("sequence").backbone, prepared("sequence").evaluator, ["tested"]
    assert ewc.certain < ewc.more
    monkeypatch.setattr(module, "available", lambda device: ewc.certain - 1)
    with pytest.raises(UserError, match=r"strategies\.tested does not fit: it takes .* What takes less: "):
        refuse_what_cannot_fit(*arguments)
    monkeypatch.setattr(module, "available", lambda device: ewc.certain)
    assert "tested may not fit" in refuse_what_cannot_fit(*arguments)[0]
    monkeypatch.setattr(module, "available", lambda device: 10**12)
    assert refuse_what_cannot_fit(*arguments) == []


@dataclass
class Looks(Plugin):
    """Looks at weights when an experience begins."""

    def adapt_model(self, tools: Any, experience: Any) -> None:
        assert float(next(tools.network.parameters()).detach().sum()) != 0


def test_a_plugin_that_looks_at_weights_is_told_and_stops_nothing(
    prepared: Get, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured("sequence", {f"{__name__}.Looks": {}}, precision="32-true")
    assert needs_of(config, prepared("sequence").backbone, prepared("sequence").evaluator, ["tested"]) == []
    assert "strategy tested: what it takes in memory cannot be told: plugin" in caplog.text


def test_processes_share_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "available", lambda device: 1000)
    config = configured("sequence", {}, devices=2, strategy="ddp")
    assert Room.of(trainer_of(config.trainer)).free == 500


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        ("0::/a/b", "a", ("memory.max", "memory.current", "inactive_file")),
        ("4:memory:/elsewhere", "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")),
    ],
)
def test_the_limit_of_a_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, folder: str, names: tuple[str, str, str]
) -> None:
    """Of the group itself or of one above it; without what the system gives back on demand."""
    (tmp_path / folder).mkdir()
    (tmp_path / "own").write_text(f"3:cpuset:/\n{line}\n")
    for name, text in zip((*names[:2], "memory.stat"), ("1000", "700", f"anon 5\n{names[2]} 200\n"), strict=True):
        (tmp_path / folder / name).write_text(text)
    monkeypatch.setattr(room, "OWN", tmp_path / "own")
    monkeypatch.setattr(room, "GROUPS", tmp_path)
    assert room.available(torch.device("cpu")) == 500


def test_a_meter_counts_what_comes_and_goes() -> None:
    weight = torch.zeros(100, requires_grad=True)
    with Meter([weight]) as meter:
        doubled = weight.view(10, 10) * 2  # a view is no new memory
        kept = doubled.exp()
        del doubled
        assert (meter.now, meter.peak) == (400, 800)
        del kept
        assert meter.now == 0


def _tensors(state: Any) -> list[torch.Tensor]:
    if isinstance(state, torch.Tensor):
        return [state]
    each = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for part in each for tensor in _tensors(part)]
