"""What every plugin promises, each a function that raises `AssertionError` where the promise is broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cache
from typing import Any

import torch

from cl.config import Config
from cl.plugins import PLUGINS
from cl.plugins.base import Plugin, stored_bytes
from cl.runs.prepare import Prepared
from cl.runs.strategies import plugin_class
from cl.testing.tiny import (
    End,
    assert_same,
    configured,
    flatten,
    fresh_learner,
    learn,
    options,
    prepared,
    train,
)
from cl.testing.watching import (
    Scaled,
    Watched,
    fit_and_save,
    go_on,
    halve_passes,
    overrides,
    pad_every_batch,
    spoil_a_step,
    through_a_file,
    without_warnings,
)
from cl.training.learner import Learner

ADAPTED = "llama"  # the backbone for plugins that work on adapters
FINETUNING = "finetune"  # the empty strategy
TOLERANCE = 1e-6
"""Absolute, in double precision, of weights of order 1: sums in another order, amplified by training."""


@dataclass(frozen=True)
class Subject:
    """The plugin to prove: a name of `cl plugins` or a dotted path, and its options; and on which network: a backbone
    of `cl.testing.tiny`, and an adapter.
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    backbone: str = "scratch"
    adapter: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def listed(cls, name: str, backbone: str = "scratch", adapter: dict[str, Any] | None = None) -> Subject:
        """One of `PLUGINS`, with options that suit a tiny stream, on a network that it works on."""
        if needed := PLUGINS[name].adapter:
            backbone, adapter = ADAPTED, {"kind": needed, "r": 2, "target": "all-linear"}
        return cls(name, options(name)[name], backbone, adapter or {})

    @property
    def plugin(self) -> type[Plugin]:
        """Its class."""
        return plugin_class(self.name, "cl.testing")

    def strategy(self, **changes: Any) -> dict[str, Any]:
        """A strategy of this plugin alone."""
        return {self.name: self.options | changes}

    @property
    def finetuning(self) -> Subject:
        """The same network without the plugin."""
        return replace(self, name=FINETUNING, options={})

    def prepared(self, stream: str) -> Prepared:
        """A tiny stream for its backbone."""
        return prepared(stream, self.backbone)

    def configured(self, stream: str, changes: dict[str, Any] | None = None, **others: Any) -> Config:
        """The configuration that proves it; `changes`: of its options, `others`: of the trainer."""
        plugins = {} if self.name == FINETUNING else self.strategy(**(changes or {}))
        return configured(stream, plugins, backbone=self.backbone, adapter=self.adapter, **others)

    @property
    def strengths(self) -> list[str]:
        """Its fields that weigh a penalty."""
        return [f.name for f in fields(self.plugin) if f.init and "strength" in f.name]


Promise = Callable[[Subject, str], None]
PROMISES: dict[str, tuple[Promise, tuple[str, ...]]] = {}
"""By name: the promise, and the streams (of `cl.testing.tiny`) that it is proven on."""


def promise_on(*streams: str) -> Callable[[Promise], Promise]:
    """Lists a promise, to be proven on these streams."""

    def register(promise: Promise) -> Promise:
        PROMISES[promise.__name__] = (promise, streams)
        return promise

    return register


@promise_on("mixed", "own")
def split_invariance(subject: Subject, stream: str) -> None:
    """One global batch gives one update, however many micro-batches it is dealt to (3 do not divide its size)."""
    whole = _plain(subject, stream)
    dealt = train(subject.prepared(stream), subject.configured(stream, accumulate=3))
    try:
        assert_same(whole.weights, dealt.weights, TOLERANCE)
        assert_same(whole.plugins, dealt.plugins, TOLERANCE)
    except AssertionError as error:
        raise AssertionError(f"{error}. Is each term of a loss a `step.mean(…)` or a `step.share(…)`?") from None
    assert whole.rows == dealt.rows, "the scores differ"


@promise_on("sequence", "token")
def padding_changes_nothing(subject: Subject, stream: str) -> None:
    """More padding in every batch that the network, or a copy of it, ever sees leaves all as it was."""
    plain = _plain(subject, stream)
    padded = train(subject.prepared(stream), subject.configured(stream), change=pad_every_batch)
    assert_same(plain.weights, padded.weights, TOLERANCE)
    assert_same(plain.plugins, padded.plugins, TOLERANCE)


@promise_on("sequence", "token")
def batching_of_upkeep_changes_nothing(subject: Subject, stream: str) -> None:
    """What is computed from data between experiences is of examples, not of the batches they came in."""
    usual = _plain(subject, stream, 2)
    halved = train(subject.prepared(stream), subject.configured(stream), num_experiences=2, change=halve_passes)
    assert_same(usual.weights, halved.weights, TOLERANCE)
    assert_same(usual.plugins, halved.plugins, TOLERANCE)


@promise_on("mixed")
def strength_0_is_finetuning(subject: Subject, stream: str) -> None:
    """Bit for bit: no draw too many, no batch changed."""
    if not subject.strengths:
        return
    finetuned = _plain(subject.finetuning, stream)
    off = dict.fromkeys(subject.strengths, 0.0)
    without = train(subject.prepared(stream), subject.configured(stream, off))
    assert_same(finetuned.weights, without.weights)


@promise_on("mixed")
def it_does_something(subject: Subject, stream: str) -> None:
    """The network ends elsewhere than finetuning does."""
    finetuned, protected = (_plain(each, stream).weights for each in (subject.finetuning, subject))
    same = all(torch.equal(finetuned[name], weight) for name, weight in protected.items())
    assert not same or overrides(subject.plugin, "network_for"), "the network ends exactly as finetuning does"


@promise_on("sequence", "token")
def its_term_can_be_descended(subject: Subject, stream: str) -> None:
    """The loss term has a gradient that is not zero, along which it grows as the gradient says."""
    if not (overrides(subject.plugin, "loss") or overrides(subject.plugin, "penalty")):
        return
    found: list[float] = []

    def watch(learner: Learner) -> None:
        learner.strategy = Watched(learner.strategy.plugins, found)

    train(subject.prepared(stream), subject.configured(stream), change=watch)
    if stream == "sequence" and not found:
        return  # it acts on tokens alone
    assert found, "its term never has a gradient other than zero"
    # Not exactly 1 where a method takes a part of its term for constant, as fgm and cfner do.
    for slope in (min(found), max(found)):
        assert 1 / 3 < slope < 3, f"along its gradient the term changes at {slope} times the gradient's norm, not at 1"


@promise_on("own")
def state_round_trip(subject: Subject, stream: str) -> None:
    """A fresh learner that takes over weights and state goes on, between two experiences, as the old one would."""
    config, data = subject.configured(stream), subject.prepared(stream)
    straight = _plain(subject, stream)
    half = train(data, config, num_experiences=2)
    resumed = fresh_learner(config, data)
    resumed.restore(through_a_file(half.learner.state()))
    rows = [learn(resumed, config, index, data).row for index in (2, 3)]
    assert_same(straight.weights, resumed.network.state_dict())
    assert_same(straight.plugins, resumed.strategy.state_dict())
    assert straight.rows[-2:] == rows, "the scores differ"


@promise_on("mixed")
def resume_inside_an_experience(subject: Subject, stream: str) -> None:
    """Stopped after two steps of the third experience and resumed, all ends bit for bit as if never stopped."""
    config, data = subject.configured(stream), subject.prepared(stream)
    straight = _plain(subject, stream, 3)
    stopped = train(data, config, num_experiences=2).learner
    stopped.begin(data.stream[2])
    _, saved = fit_and_save(stopped, config, every_steps=2)
    resumed = fresh_learner(config, data)
    learnt = go_on(resumed, config, saved[0])
    assert_same(straight.weights, resumed.network.state_dict())
    assert_same(straight.plugins, resumed.strategy.state_dict())
    assert straight.rows[-1] == learnt.row, "the scores differ"


@promise_on("own", "token")
def a_skipped_step_leaves_no_trace(subject: Subject, stream: str) -> None:
    """A step that the scaler of float16 skips is none to a plugin: its state stays, and all that follows is finite."""
    config = subject.configured(stream, precision=None)
    config = replace(config, trainer=config.trainer | {"plugins": [Scaled()]})
    with without_warnings():
        end = train(
            subject.prepared(stream), config, 2, change=lambda learner: spoil_a_step(learner, experience=1, step=2)
        )
    assert end.learner.cost.num_skipped == 1, "the step was not skipped"
    for name, value in flatten({"weights": end.weights, "plugins": end.plugins}).items():
        assert not isinstance(value, torch.Tensor) or bool(value.isfinite().all()), f"{name} is not finite"


@promise_on("sequence", "token")
def a_stream_of_one_experience(subject: Subject, stream: str) -> None:
    """It runs; and what protects the past, with none there, is finetuning bit for bit."""
    alone = _plain(subject, stream, 1)
    assert alone.rows[0][0] is not None, "it has no score"
    if not subject.plugin.from_the_start:
        finetuned = _plain(subject.finetuning, stream, 1)
        assert_same(finetuned.weights, alone.weights)


@promise_on("sequence")
def memory_does_not_grow(subject: Subject, stream: str) -> None:
    """The third experience stores no byte more than the second, unless the plugin says that it does."""
    if subject.plugin.grows:
        return
    stored = [stored_bytes(_plain(subject, stream, n).plugins) for n in (2, 3)]
    assert stored[1] <= stored[0], f"it stores {stored[0]} bytes after two experiences and {stored[1]} after three"


@promise_on("sequence")
def frozen_weights_are_not_stored(subject: Subject, stream: str) -> None:
    """What never trains stands in no checkpoint and in no state: a frozen backbone may be larger than all else."""

    def freeze(learner: Learner) -> None:
        learner.network.backbone.model.get_input_embeddings().requires_grad_(False)

    learner = train(subject.prepared(stream), subject.configured(stream), 2, change=freeze).learner
    embeddings = learner.network.backbone.model.get_input_embeddings().weight
    frozen = {tuple(p.shape) for p in learner.network.base().values() if p is embeddings}
    copies = [name for name, value in flatten(learner.state()).items() if tuple(getattr(value, "shape", ())) in frozen]
    assert frozen and not copies, f"frozen word embeddings are stored as {', '.join(copies)}"


@promise_on("sequence")
def it_says_what_a_user_asks(subject: Subject, stream: str) -> None:
    """Its docstring tells the idea, what it costs and when to use it; `paper` whose it is."""
    text = subject.plugin.__doc__ or ""
    missing = [word for word in ("Cost:", "When to use it:") if word not in " ".join(text.split())]
    assert not missing, f"its docstring says nothing of {' and '.join(missing)}"
    assert subject.plugin.paper, "it names no paper"


@cache
def trained(subject: str, stream: str, num_experiences: int | None, max_epochs: int = 2) -> End:
    """How a subject, its fields as JSON, ends undisturbed; to be looked at, not trained on."""
    of = Subject(**json.loads(subject))
    return train(of.prepared(stream), of.configured(stream, max_epochs=max_epochs), num_experiences)


def _plain(subject: Subject, stream: str, num_experiences: int | None = None) -> End:
    """How it ends undisturbed; to be looked at, not trained on."""
    return trained(json.dumps(asdict(subject)), stream, num_experiences)
