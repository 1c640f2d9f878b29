"""Steps that the scaler of float16 skips: counted, and nobody's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from lightning.pytorch import Trainer
from torch import Tensor

from cl.plugins.base import Gradients, Plugin
from cl.plugins.si import SI
from cl.plugins.strategy import Strategy
from cl.runs.prepare import Prepared
from cl.testing.promises import PROMISES, Subject
from cl.testing.tiny import assert_same, configured, fit, fresh_learner, train
from cl.testing.watching import Scaled, fit_and_save, go_on, spoil_a_step
from cl.training.learner import Learner
from cl.training.outcome import Diverged
from cl.types import Experience

Get = Callable[[str], Prepared]


class Noting(Plugin):
    """Which seams of a step it was called at, and at which step."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, bool]] = []

    def _note(self, seam: str, learner: Any, finite: bool = True) -> None:
        self.calls.append((seam, learner.num_steps, finite))

    def after_backward(self, tools: Any, gradients: Gradients) -> None:
        self._note("after_backward", tools, all(bool(g.isfinite().all()) for g in gradients.values()))

    def penalty(self, tools: Any, gradients: Gradients) -> Tensor | None:
        self._note("penalty", tools)
        return None

    def on_gradients(self, tools: Any, gradients: Gradients) -> Gradients:
        self._note("on_gradients", tools)
        return gradients

    def after_step(self, tools: Any) -> None:
        self._note("after_step", tools)


class AfterEveryStep(SI):
    """As one would be that is told of skipped steps too: 0 · inf."""

    def after_experience(self, tools: Any, experience: Experience) -> None:
        if experience.index == 1:
            self.path = {name: path + 0 * math.inf for name, path in self.path.items()}
        super().after_experience(tools, experience)


def scaled(plugins: dict[str, Any], **trainer: Any) -> Any:
    config = configured("sequence", plugins, precision=None, **trainer)
    return replace(config, trainer=config.trainer | {"plugins": [Scaled()]})


@pytest.mark.parametrize("accumulate", [1, 3])
def test_plugins_are_told_of_the_steps_that_were_taken(prepared: Get, accumulate: int) -> None:
    """Of six steps the third is skipped: it counts, for the data, the rates and the log, and no plugin sees it."""
    data, config = prepared("sequence"), scaled({}, accumulate_grad_batches=accumulate)
    config = replace(config, trainer=config.trainer | {"accumulate_grad_batches": accumulate})
    learner, noting, logged = fresh_learner(config, data), Noting(), []
    learner.strategy = Strategy({"noting": noting})
    learner.sinks = [lambda experience, epoch, step, values: logged.append((step, values["learning_rate"]))]
    spoil_a_step(learner, experience=0, step=2)
    learner.begin(data.stream[0])
    fit(learner, config)
    seams = ("after_backward", "penalty", "on_gradients")
    taken = [0, 1, 3, 4, 5]
    assert [call for call in noting.calls if call[0] in seams] == [(s, step, True) for step in taken for s in seams]
    assert [call[1] for call in noting.calls if call[0] == "after_step"] == [step + 1 for step in taken]
    assert (learner.num_steps, learner.total_steps) == (6, 6)
    assert (learner.cost.num_steps, learner.cost.num_skipped) == (6, 1)
    assert [step for step, _ in logged] == [1, 2, 3, 4, 5, 6]


def test_one_gradient_that_is_not_finite_is_enough(prepared: Get) -> None:
    """That of a single weight, where all others are as they should be."""
    data, config = prepared("sequence"), scaled({})
    learner, noting = fresh_learner(config, data), Noting()
    learner.strategy = Strategy({"noting": noting})
    learner.begin(data.stream[0])

    def spoil(gradient: Tensor) -> Tensor:
        spoiled = gradient.clone()
        spoiled[0] = math.inf if learner.num_steps == 2 else gradient[0]
        return spoiled

    learner.network.head("sequence").weight.register_hook(spoil)
    fit(learner, config)
    assert learner.cost.num_skipped == 1
    assert [step for seam, step, _ in noting.calls if seam == "after_backward"] == [0, 1, 3, 4, 5]
    assert all(finite for _, _, finite in noting.calls)


def test_the_rate_goes_on_over_a_skipped_step(prepared: Get) -> None:
    """As planned: that of six steps, of which the third is skipped."""
    data, config = prepared("sequence"), scaled({})
    training = replace(config.training, schedule="linear", warmup=0.0, learning_rate=0.01)
    learner, rates = fresh_learner(replace(config, training=training), data), []
    learner.sinks = [lambda experience, epoch, step, values: rates.append(values["learning_rate"])]
    spoil_a_step(learner, experience=0, step=2)
    learner.begin(data.stream[0])
    fit(learner, config)
    assert learner.cost.num_skipped == 1
    assert rates == pytest.approx([0.01 * factor / 6 for factor in (6, 5, 4, 3, 2, 1)])


def test_skipped_steps_are_told(prepared: Get, caplog: pytest.LogCaptureFixture) -> None:
    data, config = prepared("sequence"), scaled({})
    learner = fresh_learner(config, data)
    for step in (1, 4):
        spoil_a_step(learner, experience=0, step=step)
    learner.begin(data.stream[0])
    fit(learner, config)
    assert (learner.cost.num_skipped, learner.num_steps) == (2, 6)
    assert "experience 0 (books): 2 of 6 steps were skipped, since float16 could not hold" in caplog.text


def test_an_experience_of_skipped_steps_alone_is_no_result(prepared: Get) -> None:
    data, config = prepared("sequence"), scaled({})
    learner = fresh_learner(config, data)
    for step in range(6):
        spoil_a_step(learner, experience=0, step=step)
    learner.begin(data.stream[0])
    with pytest.raises(Diverged, match=r"6 of 6 steps were skipped.*: nothing was learnt\. Take trainer\.precision"):
        fit(learner, config)


def test_without_a_skipped_step_the_scaler_changes_nothing(prepared: Get) -> None:
    plugins = {"si": {}, "l2": {"strength": 0.5}}
    with_scaler, without = (train(prepared("sequence"), c) for c in (scaled(plugins), configured("sequence", plugins)))
    assert_same(with_scaler.weights, without.weights, 1e-9)
    assert with_scaler.learner.cost.num_skipped == without.learner.cost.num_skipped == 0


@pytest.mark.parametrize("step", [0, 2, 5])
def test_the_path_of_si_is_that_of_the_steps_taken(prepared: Get, step: int) -> None:
    """−Σ g·Δθ over five of six steps; the first and the last step may be the one that is skipped."""
    data, config = prepared("sequence"), scaled({"si": {}})
    learner = fresh_learner(config, data)
    spoil_a_step(learner, experience=0, step=step)
    strategy, expected, seen = learner.strategy, dict[str, Tensor](), dict[str, Any]()

    def parameters() -> dict[str, Tensor]:
        return {name: p.detach().clone() for name, p in learner.network.named_parameters() if p.requires_grad}

    class Beside(Strategy):
        def after_backward(self, tools: Any, gradients: Gradients) -> None:
            seen.update(at=parameters(), g={name: g.clone() for name, g in gradients.items()})
            super().after_backward(tools, gradients)

        def after_step(self, tools: Any) -> None:
            for name, now in parameters().items():
                expected[name] = expected.get(name, 0.0) + (seen["at"][name] - now) * seen["g"][name]
            super().after_step(tools)

        def after_experience(self, tools: Any, experience: Experience) -> None:
            seen["path"] = {name: p.clone() for name, p in strategy.plugins["si"].path.items()}  # type: ignore[attr-defined]
            super().after_experience(tools, experience)

    learner.strategy = Beside(strategy.plugins)
    learner.begin(data.stream[0])
    fit(learner, config)
    assert_same(seen["path"], expected, 1e-12)
    assert max(float(path.abs().max()) for path in expected.values()) > 1e-4


def test_a_run_that_skips_a_step_goes_on_as_if_never_stopped(prepared: Get) -> None:
    """Stopped right after the skipped step: the scale and the count of skipped steps are taken over."""
    data, config = prepared("sequence"), scaled({"si": {}})

    def begun() -> Learner:
        learner = fresh_learner(config, data)
        spoil_a_step(learner, experience=0, step=2)
        return learner

    straight = begun()
    straight.begin(data.stream[0])
    _, saved = fit_and_save(straight, config, every_steps=3)
    state = saved[0]["learner"]
    assert (state["num_steps"], state["cost"]["num_skipped"]) == (3, 1)
    resumed = begun()
    trainers: list[Trainer] = []
    resumed.sinks = [lambda *_: trainers.append(resumed.trainer)]
    go_on(resumed, config, saved[0])
    assert saved[0]["training"]["precision"]["scale"] == 2.0**15, "halved by the skipped step"
    assert trainers[0].precision_plugin.scaler.get_scale() == 2.0**15  # type: ignore[attr-defined]
    assert resumed.cost.num_skipped == straight.cost.num_skipped == 1
    assert_same(straight.network.state_dict(), resumed.network.state_dict())
    assert_same(straight.strategy.state_dict(), resumed.strategy.state_dict())


def test_the_promise_finds_a_path_that_is_not_finite() -> None:
    promise, _ = PROMISES["a_skipped_step_leaves_no_trace"]
    promise(Subject("si"), "token")
    with pytest.raises(AssertionError, match="is not finite"):
        promise(Subject(f"{__name__}.AfterEveryStep"), "token")


def test_the_promise_finds_a_learner_that_tells_of_skipped_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The learner as it was: `after_backward` and `after_step` in each step, taken or not."""
    monkeypatch.setattr(Learner, "_usable", lambda self, gradients: True)
    always = property(lambda self: True, lambda self, value: None)
    monkeypatch.setattr(Learner, "_stepped", always, raising=False)
    with pytest.raises(AssertionError, match=r"plugins\.si\.path\..* differs by nan"):
        PROMISES["a_skipped_step_leaves_no_trace"][0](Subject("si"), "token")
