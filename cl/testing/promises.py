"""What every plugin promises, each a function that raises `AssertionError` where the promise is broken."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any

import torch

from cl.plugins import PLUGINS
from cl.plugins.base import Plugin, PluginError, stored_bytes
from cl.runs.strategies import plugin_class
from cl.testing.ranks import Spec, on_two_ranks
from cl.testing.tiny import (
    KINDS,
    End,
    assert_same,
    configured,
    fit,
    flatten,
    fresh_learner,
    learn,
    options,
    prepared,
    train,
)
from cl.testing.watching import (
    IgnoreSignals,
    Scaled,
    Watched,
    halve_passes,
    overrides,
    pad_every_batch,
    spoil_a_step,
    through_a_file,
    without_warnings,
)
from cl.training.callbacks import Checkpointer
from cl.training.learner import Learner
from cl.types import UserError

TOLERANCE = 1e-6
"""Absolute, in double precision, of weights of order 1: sums in another order, amplified by training."""


@dataclass(frozen=True)
class Subject:
    """The plugin to prove: a name of `cl plugins` or a dotted path, and its options."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def listed(cls, name: str) -> Subject:
        """One of `PLUGINS`, with options that suit a tiny stream."""
        return cls(name, options(name)[name])

    @property
    def plugin(self) -> type[Plugin]:
        """Its class."""
        return plugin_class(self.name, "cl.testing")

    def strategy(self, **changes: Any) -> dict[str, Any]:
        """A strategy of this plugin alone."""
        return {self.name: self.options | changes}

    @property
    def strengths(self) -> list[str]:
        """Its fields that weigh a penalty."""
        return [f.name for f in fields(self.plugin) if f.init and "strength" in f.name]


FINETUNING = Subject("finetune")
Promise = Callable[[Subject, str], None]
PROMISES: dict[str, tuple[Promise, tuple[str, ...]]] = {}
"""By name: the promise, and the streams (of `cl.testing.tiny`) that it is proven on."""


def prove(plugin: str | type[Plugin], *, pairs: bool = True, ranks: bool = True, **options: Any) -> None:
    """Proves a plugin with these options on tiny streams: half a minute, two with pairs and ranks.

    `plugin`: a class at the top of a module, or its dotted path. `pairs`: beside a listed plugin of each kind too.
    `ranks`: in two processes too (its module must be importable there). Raises `AssertionError` naming each promise
    that is broken, and how.
    """
    name = plugin if isinstance(plugin, str) else f"{plugin.__module__}.{plugin.__qualname__}"
    subject = Subject(name, options)
    chosen = {name: streams for name, (promise, streams) in PROMISES.items() if pairs or promise is not PAIRED}
    cases = [(promise, stream) for promise, streams in chosen.items() for stream in streams]
    broken = [f"{promise} ({stream}): {why}" for promise, stream in cases if (why := _why(promise, subject, stream))]
    if ranks:
        broken += prove_on_ranks([subject])
    assert not broken, f"{name} breaks {len(broken)} promises:\n" + "\n".join(broken)


# As short as shows each thing once: something old of each kind, a second epoch, accumulation, dropout.
ON_RANKS = (
    Spec("token", {}, num_experiences=2),
    Spec("own", {}, num_experiences=3, accumulate=2),
    Spec("mixed", {}, num_experiences=3, max_epochs=2),
    Spec("mixed", {}, num_experiences=2, dropout=0.2),
)


def prove_on_ranks(subjects: list[Subject]) -> list[str]:
    """Trains each in two processes, on every stream, and says what differs from one process or between the two."""
    specs = [replace(spec, plugins=subject.strategy()) for subject in subjects for spec in ON_RANKS]
    broken = []
    for spec, first, second in zip(specs, *on_two_ranks(specs), strict=True):
        where = f"two ranks ({next(iter(spec.plugins))}, {spec.stream}, accumulation {spec.accumulate})"
        try:
            assert_same(first, second)
            if not spec.dropout:  # with dropout two ranks draw other masks than one, and must still agree
                alone = _trained(spec.stream, json.dumps(spec.plugins), spec.num_experiences, spec.max_epochs)
                assert_same({"weights": alone.weights, "plugins": alone.plugins}, first["end"], TOLERANCE)
                assert alone.rows == first["rows"], "the scores differ"
        except AssertionError as error:
            broken.append(f"{where}: {error}")
    return broken


def _why(promise: str, subject: Subject, stream: str) -> str:
    try:
        PROMISES[promise][0](subject, stream)
    except AssertionError as error:
        return str(error) or "an assertion failed"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _promise(*streams: str) -> Callable[[Promise], Promise]:
    def register(promise: Promise) -> Promise:
        PROMISES[promise.__name__] = (promise, streams)
        return promise

    return register


@_promise(*KINDS)
def split_invariance(subject: Subject, stream: str) -> None:
    """One global batch gives one update, however many micro-batches it is dealt to (3 do not divide its size)."""
    whole = _plain(subject, stream)
    dealt = train(prepared(stream), configured(stream, subject.strategy(), accumulate=3))
    assert_same(whole.weights, dealt.weights, TOLERANCE)
    assert_same(whole.plugins, dealt.plugins, TOLERANCE)
    assert whole.rows == dealt.rows, "the scores differ"


@_promise("sequence", "token")
def padding_changes_nothing(subject: Subject, stream: str) -> None:
    """More padding in every batch that the network, or a copy of it, ever sees leaves all as it was."""
    plain = _plain(subject, stream)
    padded = train(prepared(stream), configured(stream, subject.strategy()), change=pad_every_batch)
    assert_same(plain.weights, padded.weights, TOLERANCE)
    assert_same(plain.plugins, padded.plugins, TOLERANCE)


@_promise("sequence", "token")
def batching_of_upkeep_changes_nothing(subject: Subject, stream: str) -> None:
    """What is computed from data between experiences is of examples, not of the batches they came in."""
    usual = _plain(subject, stream, 2)
    halved = train(prepared(stream), configured(stream, subject.strategy()), num_experiences=2, change=halve_passes)
    assert_same(usual.weights, halved.weights, TOLERANCE)
    assert_same(usual.plugins, halved.plugins, TOLERANCE)


@_promise("mixed")
def strength_0_is_finetuning(subject: Subject, stream: str) -> None:
    """Bit for bit: no draw too many, no batch changed."""
    if not subject.strengths:
        return
    finetuned = _plain(FINETUNING, stream)
    off = dict.fromkeys(subject.strengths, 0.0)
    without = train(prepared(stream), configured(stream, subject.strategy(**off)))
    assert_same(finetuned.weights, without.weights)


@_promise("mixed")
def it_does_something(subject: Subject, stream: str) -> None:
    """The network ends elsewhere than finetuning does."""
    # Twice the usual epochs, so that a teacher has learnt enough to say something.
    finetuned, protected = (_plain(each, stream, max_epochs=4).weights for each in (FINETUNING, subject))
    same = all(torch.equal(finetuned[name], weight) for name, weight in protected.items())
    assert not same or overrides(subject.plugin, "network_for"), "the network ends exactly as finetuning does"


@_promise("sequence", "token")
def its_term_can_be_descended(subject: Subject, stream: str) -> None:
    """The loss term has a gradient that is not zero, along which it grows as the gradient says."""
    if not (overrides(subject.plugin, "loss") or overrides(subject.plugin, "penalty")):
        return
    found: list[float] = []

    def watch(learner: Learner) -> None:
        learner.strategy = Watched(learner.strategy.plugins, found)

    train(prepared(stream), configured(stream, subject.strategy()), change=watch)
    if stream == "sequence" and not found:
        return  # it acts on tokens alone
    assert found, "its term never has a gradient other than zero"
    # Not exactly 1 where a method takes a part of its term for constant, as fgm and cfner do.
    for slope in (min(found), max(found)):
        assert 1 / 3 < slope < 3, f"along its gradient the term changes at {slope} times the gradient's norm, not at 1"


@_promise("mixed", "own")
def state_round_trip(subject: Subject, stream: str) -> None:
    """A fresh learner that takes over weights and state goes on, between two experiences, as the old one would."""
    config, data = configured(stream, subject.strategy()), prepared(stream)
    straight = _plain(subject, stream)
    half = train(data, config, num_experiences=2)
    resumed = fresh_learner(config, data)
    resumed.restore(through_a_file(half.learner.state()))
    rows = [learn(resumed, config, index, data).row for index in (2, 3)]
    assert_same(straight.weights, resumed.network.state_dict())
    assert_same(straight.plugins, resumed.strategy.state_dict())
    assert straight.rows[-2:] == rows, "the scores differ"


@_promise("token", "mixed")
def resume_inside_an_experience(subject: Subject, stream: str) -> None:
    """Stopped after two steps of the third experience and resumed, all ends bit for bit as if never stopped."""
    config, data = configured(stream, subject.strategy()), prepared(stream)
    straight = _plain(subject, stream, 3)
    stopped = train(data, config, num_experiences=2).learner
    stopped.begin(data.stream[2])
    saved: list[dict[str, Any]] = []

    def save(training: dict[str, Any]) -> None:
        if not saved:
            saved.append(through_a_file({"learner": stopped.state(), "training": training}))

    fit(stopped, config, callbacks=[Checkpointer(save, 2, IgnoreSignals(), None, None)])
    resumed = fresh_learner(config, data)
    resumed.restore(saved[0]["learner"])
    learnt = fit(resumed, config, callbacks=[Checkpointer(None, 0, IgnoreSignals(), None, saved[0]["training"])])
    assert_same(straight.weights, resumed.network.state_dict())
    assert_same(straight.plugins, resumed.strategy.state_dict())
    assert straight.rows[-1] == learnt.row, "the scores differ"


@_promise("own", "token")
def a_skipped_step_leaves_no_trace(subject: Subject, stream: str) -> None:
    """A step that the scaler of float16 skips is none to a plugin: its state stays, and all that follows is finite."""
    config = configured(stream, subject.strategy(), precision=None)
    config = replace(config, trainer=config.trainer | {"plugins": [Scaled()]})
    with without_warnings():
        end = train(prepared(stream), config, 2, change=lambda learner: spoil_a_step(learner, experience=1, step=2))
    assert end.learner.cost.num_skipped == 1, "the step was not skipped"
    for name, value in flatten({"weights": end.weights, "plugins": end.plugins}).items():
        assert not isinstance(value, torch.Tensor) or bool(value.isfinite().all()), f"{name} is not finite"


@_promise("sequence", "token")
def a_stream_of_one_experience(subject: Subject, stream: str) -> None:
    """It runs; and what protects the past, with none there, is finetuning bit for bit."""
    alone = _plain(subject, stream, 1)
    assert alone.rows[0][0] is not None, "it has no score"
    if not subject.plugin.from_the_start:
        finetuned = _plain(FINETUNING, stream, 1)
        assert_same(finetuned.weights, alone.weights)


@_promise("sequence")
def memory_does_not_grow(subject: Subject, stream: str) -> None:
    """The third experience stores no byte more than the second, unless the plugin says that it does."""
    if subject.plugin.grows:
        return
    stored = [stored_bytes(_plain(subject, stream, n).plugins) for n in (2, 3)]
    assert stored[1] <= stored[0], f"it stores {stored[0]} bytes after two experiences and {stored[1]} after three"


COMPOSED: dict[str, dict[str, Any]] = {
    "mixed": {"max_epochs": 1, "num_experiences": None},
    "token": {"max_epochs": 2, "num_experiences": 2},
}
"""How much of a stream two plugins are trained on: of each kind there is something old, and no more than that."""


@_promise(*COMPOSED)
def it_composes_or_is_refused(subject: Subject, stream: str) -> None:
    """With a listed plugin of each kind: in either order the same, or refused with a reason."""
    for name in distinct(PLUGINS):
        if name != subject.name:
            composes(subject, Subject.listed(name), stream)


PAIRED = it_composes_or_is_refused


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
    for plugins in (subject.strategy() | other.strategy(), other.strategy() | subject.strategy()):
        config = configured(stream, plugins, max_epochs=length["max_epochs"])
        try:
            ends.append(train(prepared(stream), config, length["num_experiences"]))
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


@_promise("sequence")
def it_says_what_a_user_asks(subject: Subject, stream: str) -> None:
    """Its docstring tells the idea, what it costs and when to use it; `paper` whose it is."""
    text = subject.plugin.__doc__ or ""
    missing = [word for word in ("Cost:", "When to use it:") if word not in " ".join(text.split())]
    assert not missing, f"its docstring says nothing of {' and '.join(missing)}"
    assert subject.plugin.paper, "it names no paper"


@cache
def _trained(stream: str, plugins: str, num_experiences: int | None, max_epochs: int = 2) -> End:
    config = configured(stream, json.loads(plugins), max_epochs=max_epochs)
    return train(prepared(stream), config, num_experiences)


def _plain(subject: Subject, stream: str, num_experiences: int | None = None, max_epochs: int = 2) -> End:
    """How it ends undisturbed; to be looked at, not trained on."""
    plugins = subject.strategy() if subject is not FINETUNING else {}
    return _trained(stream, json.dumps(plugins), num_experiences, max_epochs)
