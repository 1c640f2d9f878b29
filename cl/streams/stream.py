"""The stream: experiences as an Avalanche scenario. The one door to avalanche-lib."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any, overload

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # a QP solver that only plugins of Avalanche's would miss
    from avalanche.benchmarks import CLScenario
    from avalanche.benchmarks.scenarios.dataset_scenario import DatasetExperience
    from avalanche.benchmarks.scenarios.generic_scenario import EagerCLStream
    from avalanche.benchmarks.utils import AvalancheDataset
    from avalanche.benchmarks.utils.data_attribute import DataAttribute

from cl.streams.samples import corpus_of
from cl.streams.scenarios import by_corpus, columns_after, renumber
from cl.types import KINDS, OUTSIDE, SPLITS, Experience, Kind, Split, SplitName, UserError


class Stream(CLScenario, Sequence[Experience]):  # type: ignore[misc]
    """The ordered experiences: an Avalanche `CLScenario` and a Python sequence in one.

    `stream[i]` is an `Experience`, `stream[:i]` a stream of the first `i`; it can be iterated any number of
    times. `train_stream`, `valid_stream` and `test_stream` are Avalanche streams whose experiences carry
    `name`, `kind`, `classes`, `task_label` and a `dataset` of dict samples. `notes`: what was dropped or decided while
    the data was read.
    """

    def __init__(self, experiences: Sequence[Experience], notes: Sequence[str] = ()) -> None:
        if not experiences:
            raise UserError("the stream has no experience: name at least one corpus under stream.corpora")
        names = [experience.name for experience in experiences]
        if repeated := {name for name in names if names.count(name) > 1}:
            raise UserError(f"two experiences are called {sorted(repeated)[0]!r}: give each corpus a name of its own")
        _refuse_mixed_candidates(experiences)
        self.experiences, self.notes = tuple(renumber(experiences)), tuple(notes)
        columns = columns_after(self.experiences, len(experiences) - 1)
        every = [(kind, name) for kind, names in columns.items() for name in names]
        number = {column: i for i, column in enumerate(every)}
        super().__init__(
            [EagerCLStream(s, [LanguageExperience(e, s, number) for e in self.experiences]) for s in SPLITS]
        )

    def __len__(self) -> int:
        return len(self.experiences)

    def __iter__(self) -> Iterator[Experience]:
        return iter(self.experiences)

    @overload
    def __getitem__(self, i: int) -> Experience: ...
    @overload
    def __getitem__(self, i: slice) -> Stream: ...
    def __getitem__(self, i: int | slice) -> Experience | Stream:
        return Stream(self.experiences[i], self.notes) if isinstance(i, slice) else self.experiences[i]

    @classmethod
    def from_scenario(cls, scenario: CLScenario) -> Stream:
        """The stream of a scenario that was built with Avalanche.

        Samples are `{"text", "label"}` or `{"tokens", "tags"}` with BIO tags, or tuples `(text, label)` or
        `(tokens, tags)`, with a task label behind them or without, which is not read. Classes have the names that a
        data set of Hugging Face gives them. There must be a `train` and a `test` stream, and may be a `valid` one (else
        a tenth of train is held out), with as many experiences each. Every class seen so far is a candidate.
        """
        if isinstance(scenario, Stream):
            return scenario
        if not isinstance(scenario, CLScenario):
            raise UserError(f"stream.scenario: a {type(scenario).__name__} is no Avalanche scenario (CLScenario)")
        streams = {name: list(scenario.streams[name]) for name in SPLITS if name in scenario.streams}
        if missing := {"train", "test"} - set(streams):
            raise UserError(f"the scenario has no {sorted(missing)[0]!r} stream; it has: {', '.join(scenario.streams)}")
        for name, of_split in streams.items():
            if len(of_split) != len(streams["train"]):
                raise UserError(
                    f"the scenario's train stream has {len(streams['train'])} experiences, its {name} stream "
                    f"{len(of_split)}: each experience needs one in each stream"
                )
        corpora = [
            corpus_of(
                str(getattr(exp, "name", f"experience-{i}")), {name: exps[i].dataset for name, exps in streams.items()}
            )
            for i, exp in enumerate(streams["train"])
        ]
        return cls(by_corpus(corpora), [note for corpus in corpora for note in corpus.notes])


class LanguageExperience(DatasetExperience):  # type: ignore[misc]
    """One experience of one split, as Avalanche sees it. Its tools know a class by the number of its column."""

    def __init__(self, experience: Experience, split: SplitName, number: dict[tuple[Kind, str], int]) -> None:
        columns = zip(experience.classes, experience.columns, strict=True)
        classes = {label: number[experience.kind, name] for label, name in columns}
        super().__init__(dataset=None, current_experience=experience.index)
        self._make_dataset = partial(_dataset, experience, experience.split(split), classes)
        self.name, self.kind, self.index = experience.name, experience.kind, experience.index
        self.classes, self.classes_in_this_experience = experience.classes, list(classes.values())
        self.task_label, self.task_labels = experience.task_label, [experience.task_label]

    @cached_property
    def dataset(self) -> AvalancheDataset[Any]:
        """Made when it is asked for: `cl` itself reads experiences, and a long stream has hundreds of data sets."""
        return self._make_dataset()


def _refuse_mixed_candidates(experiences: Sequence[Experience]) -> None:
    """Experiences of a kind share one head: either all of them share its columns, or each has its own."""
    for kind in KINDS:
        by_candidates = {e.candidates: e.name for e in experiences if e.kind == kind}
        if len(by_candidates) > 1:
            raise UserError(
                f"{by_candidates['own']!r} has candidates of its own and {by_candidates['seen']!r} takes every class "
                f"seen so far, and both are of kind {kind}: give all experiences of a kind the same candidates"
            )


def as_list(samples: list[Any]) -> list[Any]:
    """Texts of several lengths do not stack: a batch of samples is their list."""
    return samples


def _dataset(experience: Experience, split: Split, classes: dict[str, int]) -> AvalancheDataset[Any]:
    # [split], not split: an AvalancheDataset takes each item of a list for a data set.
    return AvalancheDataset(
        [split],
        data_attributes=[
            DataAttribute([classes.get(_class_of(split, i), -1) for i in split.indices], "targets"),
            DataAttribute([experience.task_label] * len(split), "targets_task_labels"),
        ],
        collate_fn=as_list,
    )


def _class_of(split: Split, index: int) -> str:
    """The label of a text; of a sentence its first tag that is not O: list targets break what balances classes."""
    label = split.examples.labels[index]
    if split.kind == "sequence":
        return str(label)
    return next((tag for tag in map(split.visible, label) if tag != OUTSIDE), OUTSIDE)
