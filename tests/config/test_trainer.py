"""The section `trainer`: each argument of lightning's Trainer has its meaning here, or is refused by name."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from inspect import Parameter, signature
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from cl.config import load
from cl.config.trainer import (
    ALWAYS,
    OF_THE_PLAN,
    PASSED_ON,
    REFUSED,
    callbacks,
    for_lightning,
    max_time,
    problems,
)
from cl.runs.prepare import Prepared, prepare
from cl.runs.streams import build_stream
from cl.testing.tiny import STREAMS, assert_same, configured, fit, fresh_learner, train
from cl.testing.watching import IgnoreSignals, through_a_file
from cl.training.callbacks import BestEpoch, Checkpointer
from cl.training.learner import Learner
from cl.types import UserError

DEFAULTS = {name: p.default for name, p in signature(Trainer.__init__).parameters.items() if name != "self"}


class Seen(Callback):
    """The user's own."""


class Asking(Callback):
    """Cannot be made from its path alone."""

    def __init__(self, what: str) -> None:
        self.what = what


NO_CALLBACK = 3


def told(**trainer: Any) -> dict[str, str]:
    return dict(problems(trainer))


# -------------------------------------------------------------------------------------------- the table


def test_each_argument_of_lightning_stands_in_one_table() -> None:
    tables = [*PASSED_ON, *OF_THE_PLAN, *REFUSED]
    assert sorted(tables) == sorted(DEFAULTS), "an argument that is missing, in two tables, or none of Lightning's"
    assert all(
        parameter.kind is not Parameter.VAR_KEYWORD for parameter in signature(Trainer.__init__).parameters.values()
    )


@pytest.mark.parametrize("name", sorted(REFUSED))
@pytest.mark.parametrize("value", [True, False, 0, 1, 2, 0.5, 1.0, "some", [1]], ids=repr)
def test_what_has_no_place_here_is_refused_by_name(name: str, value: Any) -> None:
    """Whatever it is set to, but for what is so anyway: with the remedy that stands beside it."""
    harmless, remedy = REFUSED[name]
    if any(type(value) is type(each) and value == each for each in harmless):
        assert told(**{name: value}) == {}
    else:
        assert told(**{name: value}) == {f"trainer.{name}": f" is {value!r}: it has no place here: {remedy}"}
    assert remedy and told(**{name: None}) == {}


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_is_said_to_be_harmless_is_what_happens_anyway(name: str) -> None:
    """Nobody who writes it gets something else: Lightning's default, or what is always passed."""
    for value in REFUSED[name][0]:
        assert value == ALWAYS.get(name, DEFAULTS[name]) or DEFAULTS[name] is None


@pytest.mark.parametrize("name", sorted(PASSED_ON))
def test_what_is_passed_on_reaches_lightning(name: str) -> None:
    value = object()
    assert for_lightning({name: value})[name] is value
    assert told(**{name: value}) == ({f"trainer.{name}": f" is {value!r}: give a whole number from 1 up"} if name in
        ("log_every_n_steps", "accumulate_grad_batches") else {})  # fmt: skip


def test_what_the_plan_carries_out_does_not_reach_lightning_as_well() -> None:
    """It would cut each experience a second time."""
    given = {"max_epochs": 7, "max_steps": 3, "max_time": "00:00:00:01", "limit_train_batches": 2, "overfit_batches": 1}
    assert for_lightning(given) == ALWAYS | {"callbacks": []}
    Trainer(**for_lightning(given), accelerator="cpu")  # which knows all of them


def test_a_word_that_lightning_does_not_know() -> None:
    assert told(max_epoch=3)["trainer.max_epoch"].endswith("has no such argument. Did you mean 'max_epochs'?")
    assert "no such argument" in told(self=3)["trainer.self"]


def test_an_argument_that_is_newer_than_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cl.config.trainer.PASSED_ON", PASSED_ON - {"benchmark"})
    assert told(benchmark=True) == {
        "trainer.benchmark": ": this argument of lightning's Trainer is newer than cl: leave it out"
    }


def test_the_file_and_line_are_told(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("trainer:\n  max_epochs: 1\n  fast_dev_run: true\n")
    with pytest.raises(UserError, match=r"config.yaml:3: trainer.fast_dev_run is True: it has no place here: for a"):
        load(path)
    with pytest.raises(UserError, match=r"trainer.limit_val_batches is 2: it has no place here: scores are of whole"):
        load(path, ["trainer.fast_dev_run=false", "trainer.limit_val_batches=2"])


# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("value", "span"),
    [
        (None, None),
        ("00:12:00:00", timedelta(hours=12)),
        (" 01:02:03:04 ", timedelta(days=1, hours=2, minutes=3, seconds=4)),
        ("120:00:00:00", timedelta(days=120)),
        ({"hours": 12}, timedelta(hours=12)),
        ({"minutes": 1.5, "seconds": 2}, timedelta(seconds=92)),
        (timedelta(seconds=3), timedelta(seconds=3)),
    ],
)
def test_max_time(value: Any, span: timedelta | None) -> None:
    assert max_time({"max_time": value}) == span
    assert told(max_time=value) == {}


@pytest.mark.parametrize(
    "value",
    [
        "12:00:00", "12h", "", "00:00:00:00", "00:00:00:1", "-1:00:00:00", "00:12:00:00:00", 3600, 1.5, True, [1],
        {}, {"hours": 0}, {"hours": -1}, {"hour": 1}, {"hours": "1"}, {"days": 1e12}, timedelta(0),
    ],
    ids=repr,
)  # fmt: skip
def test_a_max_time_that_is_none(value: Any) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # it says nothing: `problems` does
        max_time({"max_time": value})
    assert told(max_time=value) == {
        "trainer.max_time": f" is {value!r}: write days, hours, minutes and seconds in quotes, "
        "'00:12:00:00', or {hours: 12}"
    }


@pytest.mark.parametrize("key", ["limit_train_batches", "overfit_batches"])
def test_a_number_or_a_share_of_batches(key: str) -> None:
    for value in (None, 1, 40, 0.01, 1.0):
        assert told(**{key: value}) == {}
    for value in (-1, True, 1.5, -0.5, "2", [2], float("nan")):
        assert told(**{key: value}) == {
            f"trainer.{key}": f" is {value!r}: give a number of batches from 1 up, or a share of them such as 0.25"
        }
    for value in (0, 0.0):  # what Lightning calls "not at all": for one of them only
        assert bool(told(**{key: value})) == (key == "limit_train_batches")


def test_two_limits_at_once_are_refused() -> None:
    assert told(limit_train_batches=3, overfit_batches=2)["trainer.overfit_batches"].endswith("drop one")
    assert told(limit_train_batches=3, overfit_batches=0) == {}
    assert told(limit_train_batches=None, overfit_batches=2) == {}


def test_the_progress_bar_is_shown_or_not() -> None:
    assert told(enable_progress_bar=True) == told(enable_progress_bar=False) == told(enable_progress_bar=None) == {}
    assert told(enable_progress_bar="no") == {"trainer.enable_progress_bar": " is 'no': give true or false"}


# ------------------------------------------------------------------------------------------ callbacks


def test_callbacks_by_dotted_path_are_made_anew() -> None:
    given, path = Seen(), f"{__name__}.Seen"
    for value in (path, [path], (path,)):
        assert told(callbacks=value) == {}
        (first,), (second,) = callbacks({"callbacks": value}), callbacks({"callbacks": value})
        assert type(first) is type(second) is Seen and first is not second
    assert callbacks({"callbacks": [given, path]})[0] is given
    assert callbacks({}) == callbacks({"callbacks": None}) == callbacks({"callbacks": []}) == []
    assert [type(one) for one in for_lightning({"callbacks": path})["callbacks"]] == [Seen]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ([3], "3 is no callback: give the dotted path of a class"),
        (Seen, "is no callback: give the dotted path of a class"),
        ("nowhere.Seen", "cannot import 'nowhere.Seen'"),
        (f"{__name__}.Sean", "cannot import .*Sean"),
        (f"{__name__}.NO_CALLBACK", "NO_CALLBACK is no subclass of lightning.pytorch.Callback"),
        ("pathlib.Path", "pathlib.Path is no subclass of lightning.pytorch.Callback"),
        ([f"{__name__}.Seen", f"{__name__}.Asking"], "Asking cannot be made without arguments: .*'what'"),
    ],
    ids=str,
)
def test_what_is_no_callback(value: Any, why: str) -> None:
    ((key, problem),) = told(callbacks=value).items()
    assert key == "trainer.callbacks"
    with pytest.raises(UserError, match=why):
        raise UserError(problem)


# ------------------------------------------------------------------------------------------ limits


@pytest.fixture(scope="module")
def ten_batches() -> Prepared:
    """160 examples of each of two domains: ten batches of 16."""
    config = configured("sequence", {})
    toy = replace(STREAMS["sequence"], domains=2, num_train=160)
    return prepare(config, build_stream(replace(config.stream, toy=toy)))


def limited(**trainer: Any) -> Any:
    config = configured("sequence", {}, max_epochs=4, **trainer)
    return replace(config, training=replace(config.training, batch_size=16, schedule="linear"))


LIMITS = [
    ({}, 10),
    ({"limit_train_batches": 0.25}, 2),
    ({"limit_train_batches": 5}, 5),
    ({"limit_train_batches": 99}, 10),
    ({"limit_train_batches": 1.0}, 10),
    ({"limit_train_batches": 0.01}, 1),  # one at least
    ({"overfit_batches": 2}, 2),
    ({"overfit_batches": 0.3}, 3),
    ({"overfit_batches": 0}, 10),
    ({"overfit_batches": 0.0}, 10),
]


@pytest.mark.parametrize(("limits", "an_epoch"), LIMITS, ids=[str(limits) for limits, _ in LIMITS])
def test_limits_are_of_each_epoch(ten_batches: Prepared, limits: dict[str, Any], an_epoch: int) -> None:
    """Four epochs of so many steps, four scores of the validation split, a rate that ends near 0."""
    config = limited(**limits)
    learner = fresh_learner(config, ten_batches)
    learner.begin(ten_batches.stream[0])
    noted: list[tuple[int, int, dict[str, float]]] = []
    learner.sinks = [lambda experience, epoch, step, values: noted.append((epoch, step, values))]
    fit(learner, config, callbacks=[BestEpoch(None, keep_best=True)])
    steps = [(epoch, step) for epoch, step, values in noted if "learning_rate" in values]
    assert steps == [(epoch, epoch * an_epoch + n + 1) for epoch in range(4) for n in range(an_epoch)]
    assert learner.num_steps == learner.plan.num_steps == learner.cost.num_steps == 4 * an_epoch
    scored = [(epoch, step) for epoch, step, values in noted if "valid/score" in values]
    assert scored == [(epoch, (epoch + 1) * an_epoch) for epoch in range(4)]
    rates = [values["learning_rate"] for _, _, values in noted if "learning_rate" in values]
    assert rates[-1] == pytest.approx(min(rates)) and rates[-1] <= 0.01 * 1.3 / (4 * an_epoch)


def drawn(learner: Learner) -> list[list[int]]:
    return [batch.tolist() for batch in learner.plan.global_batches()]


def begun(data: Prepared, **limits: Any) -> Learner:
    learner = fresh_learner(limited(**limits), data)
    learner.begin(data.stream[0])
    learner.data()
    return learner


def test_overfitting_is_the_same_batches_again_and_a_limit_is_not(ten_batches: Prepared) -> None:
    whole, same, part = (
        drawn(begun(ten_batches, **o)) for o in ({}, {"overfit_batches": 2}, {"limit_train_batches": 2})
    )
    assert same == whole[:2] * 4
    assert part == [batch for epoch in range(4) for batch in whole[epoch * 10 :][:2]]
    assert len({tuple(batch) for batch in part}) == 8


def test_a_limit_is_of_optimizer_steps(ten_batches: Prepared) -> None:
    """However many micro-batches each is dealt to: a limit of 2 with three shares a step is 2 steps of 16."""
    config = limited(limit_train_batches=2)
    whole = train(ten_batches, config, num_experiences=1)
    dealt = train(ten_batches, replace(config, trainer=config.trainer | {"accumulate_grad_batches": 3}), 1)
    assert whole.learner.num_steps == dealt.learner.num_steps == 8
    assert_same(whole.weights, dealt.weights, 1e-6)


@pytest.mark.parametrize("limits", [{"limit_train_batches": 0.25}, {"overfit_batches": 3}, {"limit_train_batches": 3,
    "max_steps": 8}], ids=str)  # fmt: skip
def test_a_limited_experience_goes_on_as_if_never_stopped(ten_batches: Prepared, limits: dict[str, Any]) -> None:
    config = limited(**limits)
    straight = fresh_learner(config, ten_batches)
    straight.begin(ten_batches.stream[0])
    saved: list[dict[str, Any]] = []

    def save(training: dict[str, Any]) -> None:
        saved.append(through_a_file({"learner": straight.state(), "training": training}))

    fit(straight, config, callbacks=[Checkpointer(save, 5, IgnoreSignals(), None, None)])
    resumed = fresh_learner(config, ten_batches)
    resumed.restore(saved[0]["learner"])
    assert resumed.num_steps == 5
    fit(resumed, config, callbacks=[Checkpointer(None, 0, IgnoreSignals(), None, saved[0]["training"])])
    assert resumed.num_steps == straight.num_steps == straight.plan.num_steps
    assert_same(straight.network.state_dict(), resumed.network.state_dict())
    assert any(
        not torch.equal(a, saved[0]["learner"]["network"][name]) for name, a in resumed.network.state_dict().items()
    )
