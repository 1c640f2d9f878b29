"""Each promise can be broken: by a tiny plugin that is broken in this one way, and found by what the promise says."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import combinations
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from cl.batches import Batch, Step
from cl.data.dataset import Dataset
from cl.models.network import Network
from cl.models.snapshot import frozen_copy
from cl.plugins import PLUGINS
from cl.plugins import strategy as strategy_module
from cl.plugins.base import Gradients, Plugin, Tools
from cl.plugins.maths.algebra import copies, parameters_of
from cl.plugins.maths.losses import cross_entropy
from cl.testing import composition, prove
from cl.testing.composition import COMPOSED, composes
from cl.testing.promises import PROMISES, Subject
from cl.types import Experience, UserError


@dataclass
class Pulls(Plugin):
    """Pulls each parameter to where the previous experience left it. It keeps every promise; those below break one.

    Cost: a copy of the parameters. When to use it: to prove that promises can be kept.
    """

    paper: ClassVar[str] = "nobody's"
    traits: ClassVar[frozenset[str]] = frozenset({"anchored"})

    strength: float = 0.5
    old: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        self.old = copies(parameters_of(tools.network))

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return self.pull(tools, gradients, self.strength)

    def pull(self, tools: Tools, gradients: Gradients, strength: float) -> Tensor | None:
        """Strength times the sum of squared ways."""
        if not self.old:
            return None
        with torch.no_grad():
            ways = self.ways(tools)
            for name, way in ways.items():
                gradients[name][: len(way)] += 2 * strength * way
            return strength * torch.stack([way.square().sum() for way in ways.values()]).sum()

    def ways(self, tools: Tools) -> dict[str, Tensor]:
        """How far each parameter has gone; rows that a head has grown since have gone nowhere."""
        now = parameters_of(tools.network)
        return {name: now[name][: len(old)] - old.to(now[name]) for name, old in self.old.items()}


# ------------------------------------------------------------------------------------------ what is learnt


class WholeInEveryShare(Pulls):
    """Its term is no share: it counts once for each micro-batch."""

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return None

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        if not self.old:
            return None
        return self.strength * torch.stack([way.square().sum() for way in self.ways(tools).values()]).sum()


class LengthOfTheBatch(Pulls):
    """Its term grows with the padding."""

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        if not self.old:
            return None
        return 0.1 * step.batch.input_ids.shape[1] * step.mean(lambda kind, output: cross_entropy(output))


@dataclass
class MeanOfBatches(Pulls):
    """What it finds between experiences is a square of each batch's mean, not of each example's value."""

    level: float = field(init=False, default=0.0)

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        batches = tools.batches_of(tools.store.dataset(experience.index, "train"), 4)
        means = [cross_entropy(output).mean() for b in batches for output in tools.network(b).values() if len(b)]
        self.level = float(torch.stack(means).detach().square().mean())


class NeverOff(Pulls):
    """Pulls a little at strength 0 too."""

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return self.pull(tools, gradients, self.strength + 0.01)


class DoesNothing(Plugin):
    """Has a term that is 0."""

    def loss(self, tools: Tools, step: Step) -> Tensor | None:
        return step.share(torch.zeros(()))


class ValueTooLarge(Pulls):
    """Says ten times what it adds the gradient of."""

    times: ClassVar[float] = 10.0

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        value = super().penalty(tools, gradients)
        return None if value is None else self.times * value


class ValueTooSmall(ValueTooLarge):
    """Says a tenth of it."""

    times: ClassVar[float] = 0.1


class NoGradient(Pulls):
    """Says a value, and adds no gradient."""

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return super().penalty(tools, copies(gradients))


class FromTheStart(Plugin):
    """Adds to gradients in the first experience too, and does not say so."""

    def on_gradients(self, tools: Tools, gradients: Gradients) -> Gradients:
        return {name: gradient + 0.1 for name, gradient in gradients.items()}


# ------------------------------------------------------------------------------------------ what is kept


@dataclass
class ForgetsExperiences(Pulls):
    """Counts experiences in an attribute that is no field: none is saved. The pull follows it."""

    def __post_init__(self) -> None:
        self.count = 0

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        self.count += 1

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return self.pull(tools, gradients, self.strength * self.count)


class AnswersOtherwise(ForgetsExperiences):
    """As it, where what was counted changes nothing but the network that answers."""

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return self.pull(tools, gradients, self.strength)

    def network_for(self, tools: Tools, network: Network, experience: Experience) -> Network:
        return network if self.count == tools.experience.index + 1 else contrary(network)


@dataclass
class ForgetsSteps(Pulls):
    """Counts the steps of an experience in an attribute that is no field. The pull follows it."""

    def __post_init__(self) -> None:
        self.count = 0

    def before_experience(self, tools: Tools, experience: Experience) -> None:
        self.count = 0

    def after_step(self, tools: Tools) -> None:
        self.count += 1

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return self.pull(tools, gradients, self.strength * self.count)


class AnswersOtherwiseThen(ForgetsSteps):
    """As it, where what was counted changes nothing but the network that answers."""

    def penalty(self, tools: Tools, gradients: Gradients) -> Tensor | None:
        return self.pull(tools, gradients, self.strength)

    def network_for(self, tools: Tools, network: Network, experience: Experience) -> Network:
        return network if self.count == tools.num_steps else contrary(network)


@dataclass
class CountsBatches(Pulls):
    """Counts batches, also those of a step that is skipped then."""

    count: int = field(init=False, default=0)

    def on_batch(self, tools: Tools, batch: Batch) -> Batch:
        self.count += 1
        return batch


@dataclass
class MeanOfNothing(Pulls):
    """Keeps a mean that is over no value in the second experience."""

    level: Tensor = field(init=False, default_factory=lambda: torch.zeros(()))

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        self.level = torch.zeros(1 - experience.index).mean()


@dataclass
class OneByteMore(Pulls):
    """Keeps one byte more after each experience, and does not say so."""

    bytes_: Tensor = field(init=False, default_factory=lambda: torch.zeros(0, dtype=torch.uint8))

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        self.bytes_ = torch.zeros(experience.index + 1, dtype=torch.uint8)


class OneByteMoreAndSaysSo(OneByteMore):
    """The same, said."""

    grows: ClassVar[str] = "a byte"


# ------------------------------------------------------------------------------- beside others, and in words


class HalfOfTheData(Pulls):
    """Trains on half of what it is given, which is another half before and after more data has joined."""

    def train_data(self, tools: Tools, dataset: Dataset, experience: Experience) -> Dataset:
        return dataset[: len(dataset) // 2]


class Doubles(Plugin):
    """Doubles gradients."""

    def on_gradients(self, tools: Tools, gradients: Gradients) -> Gradients:
        return {name: 2 * gradient for name, gradient in gradients.items()}


class Adds(FromTheStart):
    """Twice a sum is not the sum of the double and the same summand."""


class Refuses(Pulls):
    """Cannot be with one that says that it is anchored."""

    traits: ClassVar[frozenset[str]] = frozenset()
    excludes: ClassVar[dict[str, str]] = {"anchored": "one anchor is enough"}


class SaysNoCost(Pulls):
    """Pulls.

    When to use it: never.
    """


class SaysNoUse(Pulls):
    """Pulls.

    Cost: nothing.
    """


class SaysNothing(Pulls):  # nothing at all
    pass


@dataclass
class KeepsTheBackbone(Pulls):
    """Keeps all of the network. Cost: all of it. When to use it: never."""

    whole: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        self.whole = copies(tools.network.state_dict())


class NamesNobody(Pulls):
    """Pulls. Cost: nothing. When to use it: never."""

    paper: ClassVar[str] = ""


class Raises(Pulls):
    """Fails after the second experience.

    Cost: a run. When to use it: never.
    """

    def after_experience(self, tools: Tools, experience: Experience) -> None:
        super().after_experience(tools, experience)
        if experience.index == 1:
            raise KeyError("no such experience")


@dataclass
class KeepsASet(Pulls):
    """Keeps what cannot be saved. Cost: the checkpoint. When to use it: never."""

    names: set[str] = field(init=False, default_factory=set)


def contrary(network: Network) -> Network:
    """A copy that says the opposite."""
    copy = frozen_copy(network)
    for head in copy.heads.values():
        head.weight.data.neg_()
    return copy


def subject(plugin: type[Plugin]) -> Subject:
    return Subject(f"{plugin.__module__}.{plugin.__name__}")


BROKEN: list[tuple[type[Plugin], str, str, str]] = [
    (WholeInEveryShare, "split_invariance", "mixed", "differs by"),
    (LengthOfTheBatch, "padding_changes_nothing", "sequence", "differs by"),
    (LengthOfTheBatch, "padding_changes_nothing", "token", "differs by"),
    (MeanOfBatches, "batching_of_upkeep_changes_nothing", "sequence", r"level.* is .* and "),
    (MeanOfBatches, "batching_of_upkeep_changes_nothing", "token", r"level.* is .* and "),
    (NeverOff, "strength_0_is_finetuning", "mixed", "differs by"),
    (DoesNothing, "it_does_something", "mixed", "exactly as finetuning"),
    (ValueTooLarge, "its_term_can_be_descended", "sequence", r"changes at (9\.9|10\.)\d* times"),
    (ValueTooLarge, "its_term_can_be_descended", "token", r"changes at (9\.9|10\.)\d* times"),
    (ValueTooSmall, "its_term_can_be_descended", "sequence", r"changes at 0\.(09|10)\d* times"),
    (ValueTooSmall, "its_term_can_be_descended", "token", r"changes at 0\.(09|10)\d* times"),
    (NoGradient, "its_term_can_be_descended", "token", "never has a gradient"),
    (ForgetsExperiences, "state_round_trip", "own", "differs by"),
    (AnswersOtherwise, "state_round_trip", "own", "the scores differ"),
    (ForgetsSteps, "resume_inside_an_experience", "mixed", "differs by"),
    (AnswersOtherwiseThen, "resume_inside_an_experience", "mixed", "the scores differ"),
    (CountsBatches, "a_skipped_step_leaves_no_trace", "own", r"count is 10 and 11"),
    (MeanOfNothing, "a_skipped_step_leaves_no_trace", "token", "level is not finite"),
    (FromTheStart, "a_stream_of_one_experience", "sequence", "differs by"),
    (FromTheStart, "a_stream_of_one_experience", "token", "differs by"),
    (OneByteMore, "memory_does_not_grow", "sequence", r"stores (\d+) bytes after two experiences and \d+ after three"),
    (
        KeepsTheBackbone,
        "frozen_weights_are_not_stored",
        "sequence",
        r"are stored as plugins\..*word_embeddings\.weight",
    ),
    (HalfOfTheData, "it_composes_or_is_refused", "token", "with joint the order matters: "),
    (SaysNoCost, "it_says_what_a_user_asks", "sequence", "says nothing of Cost:$"),
    (SaysNoUse, "it_says_what_a_user_asks", "sequence", "says nothing of When to use it:$"),
    (SaysNothing, "it_says_what_a_user_asks", "sequence", "says nothing of Cost: and When to use it:$"),
    (NamesNobody, "it_says_what_a_user_asks", "sequence", "names no paper"),
]


@pytest.mark.parametrize(("plugin", "promise", "stream", "why"), BROKEN)
def test_a_broken_plugin_is_found(plugin: type[Plugin], promise: str, stream: str, why: str) -> None:
    with pytest.raises(AssertionError, match=why):
        PROMISES[promise][0](subject(plugin), stream)


@pytest.mark.parametrize(("promise", "stream"), list(dict.fromkeys(each[1:3] for each in BROKEN)))
def test_a_plugin_that_is_not_broken_passes(promise: str, stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So none of them is found for what they have in common."""
    monkeypatch.setattr(composition, "distinct", lambda names: ["joint", "agem", "lwf"])
    PROMISES[promise][0](subject(Pulls), stream)


def test_what_is_said_is_no_breach() -> None:
    PROMISES["memory_does_not_grow"][0](subject(OneByteMoreAndSaysSo), "sequence")


def test_every_promise_can_be_broken() -> None:
    assert {promise for _, promise, _, _ in BROKEN} == PROMISES.keys()
    assert all(stream in PROMISES[promise][1] for _, promise, stream, _ in BROKEN)


# ---------------------------------------------------------------------------------------------- two of them


@pytest.mark.parametrize("stream", COMPOSED)
def test_two_whose_order_matters_are_found(stream: str) -> None:
    composes(subject(Doubles), subject(Pulls), stream)
    for pair in ((Doubles, Adds), (Adds, Doubles)):
        with pytest.raises(AssertionError, match=r"with .*(Doubles|Adds) the order matters: .* differs by"):
            composes(*map(subject, pair), stream)


@pytest.mark.parametrize("stream", COMPOSED)
def test_a_refusal_in_one_order_only_is_found(stream: str, monkeypatch: pytest.MonkeyPatch) -> None:
    composes(subject(Refuses), subject(Pulls), stream)
    monkeypatch.setattr(strategy_module, "permutations", combinations)  # the second is not asked what it excludes
    for pair in ((Refuses, Pulls), (Pulls, Refuses)):
        with pytest.raises(AssertionError, match=r"with .*: refused in one order only"):
            composes(*map(subject, pair), stream)


# -------------------------------------------------------------------------------------------------- prove


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three promises, one of them on two streams."""
    kept = ("state_round_trip", "a_stream_of_one_experience", "it_says_what_a_user_asks")
    for promise in PROMISES.keys() - set(kept):
        monkeypatch.delitem(PROMISES, promise)
    monkeypatch.setitem(PROMISES, "state_round_trip", (PROMISES["state_round_trip"][0], ("own",)))


@pytest.mark.usefixtures("few")
def test_a_good_plugin_is_proven(capsys: pytest.CaptureFixture[str]) -> None:
    prove(Pulls, strength=0.2)
    said = capsys.readouterr().out.splitlines()
    assert said[:-1] == ["kept: state_round_trip (own)", "kept: a_stream_of_one_experience (sequence, token)"]
    assert re.fullmatch(
        r"\S+Pulls keeps 2 promises, proven in \d+ s. Not tried: beside other plugins \(pairs=True\), in two processes "
        r"\(ranks=True\)",
        said[-1],
    )
    prove(subject(Pulls).name)


@pytest.mark.usefixtures("few")
def test_every_promise_that_is_broken_is_named() -> None:
    """With its stream and why, whatever was raised."""
    with pytest.raises(AssertionError) as error:
        prove(Raises)
    first, *lines = str(error.value).splitlines()
    why = r"PluginError: plugin '.*Raises' failed in after_experience: KeyError: 'no such experience'"
    assert first.endswith(".Raises breaks 1 promises:")
    assert re.fullmatch(rf"state_round_trip \(own\): {why}", "\n".join(lines))
    with pytest.raises(AssertionError) as error:
        prove(KeepsASet)
    first, *lines = str(error.value).splitlines()
    assert first.endswith(".KeepsASet breaks 1 promises:")
    assert re.match(r"state_round_trip \(own\): PluginError: KeepsASet.names: a set cannot be saved: ", lines[0])


@pytest.mark.usefixtures("few")
def test_docstrings_are_asked_of_listed_plugins_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    prove(SaysNothing)
    monkeypatch.setitem(PLUGINS, "silent", SaysNothing)
    with pytest.raises(AssertionError, match=r"silent breaks 1 promises:\nit_says_what_a_user_asks \(sequence\): its"):
        prove("silent")


@pytest.mark.usefixtures("few")
def test_what_cannot_be_made_is_said_once() -> None:
    """It breaks no promise: an option that is not there, a module that is not there."""
    with pytest.raises(UserError, match=r"there is no option 'strenght'. Did you mean 'strength'\?"):
        prove(Pulls, strenght=0.2)
    with pytest.raises(UserError, match=r"cannot import 'nowhere\.Pulls'"):
        prove("nowhere.Pulls")
