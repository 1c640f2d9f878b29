"""The stream is a Python sequence and an Avalanche scenario; Avalanche's own tools take it, and cl takes theirs."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, pairwise
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from avalanche.benchmarks import (
    CLScenario,
    CLStream,
    benchmark_from_datasets,
    benchmark_with_validation_stream,
    split_online_stream,
    with_classes_timeline,
    with_task_labels,
)
from avalanche.benchmarks.utils import AvalancheDataset
from avalanche.benchmarks.utils.data_loader import GroupBalancedDataLoader
from avalanche.training.storage_policy import ClassBalancedBuffer, ExperienceBalancedBuffer, ReservoirSamplingBuffer

from cl.config import StreamConfig, ToyConfig
from cl.runs.streams import build_stream
from cl.streams import stream as module
from cl.streams.stream import Stream
from cl.types import SPLITS, Experience, UserError

SIZES = {"num_train": 24, "num_test": 8}
TOYS = {
    "sequence": ToyConfig(domains=3, types=0, **SIZES),
    "token": ToyConfig(domains=0, types=3, **SIZES),
    "mixed": ToyConfig(domains=2, types=2, **SIZES),
}


@pytest.fixture(scope="module", params=TOYS)
def stream(request: pytest.FixtureRequest) -> Stream:
    return build_stream(StreamConfig(toy=TOYS[request.param]))


@pytest.fixture(scope="module")
def mixed() -> Stream:
    return build_stream(StreamConfig(toy=TOYS["mixed"]))


# ------------------------------------------------------------------------------------------ a sequence


def with_own(stream: Stream, *indices: int) -> list[Experience]:
    return [replace(e, candidates="own" if i in indices else "seen") for i, e in enumerate(stream)]


@pytest.mark.parametrize(
    ("own", "first", "second", "kind"),
    [
        ((0,), "books", "kitchens", "sequence"),
        ((1,), "kitchens", "books", "sequence"),
        ((2,), "person", "place", "token"),
        ((0, 1, 3), "place", "person", "token"),
    ],
)
def test_own_and_seen_candidates_do_not_share_a_head(
    mixed: Stream, own: tuple[int, ...], first: str, second: str, kind: str
) -> None:
    """Columns of its own would stand where the others look for O."""
    with pytest.raises(UserError) as error:
        Stream(with_own(mixed, *own))
    assert str(error.value) == (
        f"{first!r} has candidates of its own and {second!r} takes every class seen so far, and both are of kind "
        f"{kind}: give all experiences of a kind the same candidates"
    )


@pytest.mark.parametrize("own", [(), (0, 1), (2, 3), (0, 1, 2, 3)])
def test_candidates_are_a_matter_of_a_kind(mixed: Stream, own: tuple[int, ...]) -> None:
    stream = Stream(with_own(mixed, *own))
    assert [e.index for e in stream if e.candidates == "own"] == list(own)


def test_it_is_a_sequence(mixed: Stream) -> None:
    assert len(mixed) == 4
    assert [e.name for e in mixed] == [e.name for e in mixed] == ["books", "kitchens", "person", "place"]
    assert mixed[-1] is mixed[3] is list(mixed)[3]
    assert mixed[0] in mixed
    with pytest.raises(IndexError):
        mixed[4]


def test_slices_are_streams(mixed: Stream) -> None:
    first, last = mixed[:2], mixed[2:]
    assert isinstance(first, Stream)
    assert [(e.index, e.name) for e in last] == [(0, "person"), (1, "place")]
    assert [e.name for e in mixed[::-1]] == ["place", "person", "kitchens", "books"]
    assert [len(s) for s in (first.train_stream, first.valid_stream, first.test_stream)] == [2, 2, 2]
    assert last[1].train.examples is mixed[3].train.examples


def test_an_experience_knows_what_it_is(mixed: Stream) -> None:
    place = mixed[3]
    assert (place.index, place.name, place.kind, place.task_label) == (3, "place", "token", 0)
    assert place.classes == ("O", "B-place", "I-place")
    assert {"text", "label"} == set(mixed[0].train[0])
    assert {"tokens", "tags"} == set(place.train[0])


def test_data_sets_are_made_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    real = module._dataset
    monkeypatch.setattr(module, "_dataset", lambda *args: made.append(args) or real(*args))  # type: ignore[func-returns-value]
    stream = build_stream(StreamConfig(toy=TOYS["mixed"]))
    assert not made
    experience = stream.train_stream[1]
    assert experience.dataset is experience.dataset
    assert len(made) == 1


def test_names_are_needed_and_differ() -> None:
    with pytest.raises(UserError, match="no experience"):
        Stream([])
    one = build_stream(StreamConfig(toy=ToyConfig(1, 0, **SIZES)))
    with pytest.raises(UserError, match="two experiences are called 'books': give each corpus a name of its own"):
        Stream([one[0], one[0]])


# ----------------------------------------------------------------------------------- Avalanche's tools


def test_it_is_an_avalanche_scenario(stream: Stream) -> None:
    assert isinstance(stream, CLScenario)
    assert list(stream.streams) == list(SPLITS)
    for name in SPLITS:
        theirs = stream.streams[name]
        assert isinstance(theirs, CLStream)
        for experience, own in zip(theirs, stream, strict=True):
            assert experience.current_experience == experience.index == own.index
            assert (experience.name, experience.kind, experience.classes) == (own.name, own.kind, own.classes)
            assert (experience.task_label, experience.task_labels) == (own.task_label, [own.task_label])
            assert experience.origin_stream is theirs
            assert list(experience.dataset) == list(own.split(name))
            assert set(experience.dataset.targets) <= set(experience.classes_in_this_experience)


def test_classes_have_one_number_through_the_whole_stream(mixed: Stream) -> None:
    assert [e.classes_in_this_experience for e in mixed.train_stream] == [[0, 1], [0, 1], [2, 3, 4], [2, 5, 6]]


def test_task_labels_and_timelines(stream: Stream) -> None:
    assert [e.task_labels for e in with_task_labels(stream).train_stream] == [[0]] * len(stream)
    seen = [e.classes_seen_so_far for e in with_classes_timeline(stream).train_stream]
    assert all(before <= after for before, after in pairwise(seen))


def test_online_streams(stream: Stream) -> None:
    online = split_online_stream(stream.train_stream, experience_size=7)
    pieces = [list(e.dataset) for e in online]
    assert {len(piece) for piece in pieces} == {7, *(len(e.train) % 7 for e in stream)} - {0}
    assert sorted(map(repr, chain(*pieces))) == sorted(repr(s) for e in stream for s in e.train)


def test_validation_streams(stream: Stream) -> None:
    """Where there is no stream called `valid` yet: Avalanche would keep that one."""
    without = CLScenario([stream.train_stream, stream.test_stream])
    split = benchmark_with_validation_stream(without, validation_size=0.25).streams
    for own, train, valid in zip(stream, split["train"], split["valid"], strict=True):
        assert len(train.dataset) + len(valid.dataset) == len(own.train)
        assert len(valid.dataset) == len(own.train) // 4


@pytest.mark.parametrize("policy", [ClassBalancedBuffer, ExperienceBalancedBuffer, ReservoirSamplingBuffer])
def test_buffers(stream: Stream, policy: Any) -> None:
    buffer = policy(max_size=10)
    for experience in stream.train_stream:
        buffer.post_adapt(SimpleNamespace(experience=experience), experience)
    assert len(buffer.buffer) == 10
    known = [sample for e in stream for sample in e.train]
    assert all({k: v for k, v in s.items() if k != "targets_task_labels"} in known for s in buffer.buffer)
    if policy is ClassBalancedBuffer:
        assert len(buffer.buffer_groups) == len({t for e in stream.train_stream for t in e.dataset.targets})


def test_data_loaders(mixed: Stream) -> None:
    batches = list(GroupBalancedDataLoader([e.dataset for e in mixed.train_stream], batch_size=8))
    assert all(isinstance(sample, dict) for batch in batches for sample in batch)
    assert len(batches[0]) == 8


# ------------------------------------------------------------------------- scenarios built with Avalanche

TEXTS = [{"text": f"{w} {n}", "label": label} for n in range(10) for w, label in (("good", "yes"), ("bad", "no"))]
MIXED_UP = [{"tokens": [f"Rome{n}"], "tags": ["I-place" if n == 7 else "B-place"]} for n in range(20)]
TAGGED = [
    sample
    for n in range(5)
    for sample in ({"tokens": ["in", f"Rome{n}"], "tags": ["O", "B-place"]}, {"tokens": [f"hi{n}"], "tags": ["O"]})
]


def scenario(train: list[list[Any]], **others: list[list[Any]]) -> CLScenario:
    streams = {"train": train, **others}
    return benchmark_from_datasets(**{name: [AvalancheDataset([d]) for d in each] for name, each in streams.items()})


def test_a_scenario_of_dict_samples_becomes_a_stream() -> None:
    stream = Stream.from_scenario(scenario([TEXTS, TAGGED], test=[TEXTS[:4], TAGGED[:2]]))
    assert [(e.name, e.kind, e.classes) for e in stream] == [
        ("experience-0", "sequence", ("no", "yes")),
        ("experience-1", "token", ("O", "B-place", "I-place")),
    ]
    assert [[len(e.split(name)) for name in SPLITS] for e in stream] == [[18, 2, 4], [9, 1, 2]]
    assert list(stream[1].test) == TAGGED[:2]


def test_a_stream_goes_through_avalanche_and_back(stream: Stream) -> None:
    back = Stream.from_scenario(CLScenario(list(stream.streams.values())))
    for old, new in zip(stream, back, strict=True):
        assert (new.name, new.kind, new.classes) == (old.name, old.kind, old.classes)
        assert [list(new.split(name)) for name in SPLITS] == [list(old.split(name)) for name in SPLITS]
    assert Stream.from_scenario(stream) is stream


def test_a_validation_stream_is_taken_as_it_is() -> None:
    stream = Stream.from_scenario(scenario([TEXTS], valid=[TEXTS[:6]], test=[TEXTS[:4]]))
    assert [len(stream[0].split(name)) for name in SPLITS] == [20, 6, 4]


def test_integer_labels_are_names() -> None:
    numbered = [{"text": t["text"], "label": int(t["label"] == "yes")} for t in TEXTS]
    assert Stream.from_scenario(scenario([numbered], test=[numbered]))[0].classes == ("0", "1")


def test_tuples_are_samples() -> None:
    """As an ordinary scenario has them: with a task label or without, numbers in tensors or plain."""
    texts = [(t["text"], torch.tensor(int(t["label"] == "yes")), 0) for t in TEXTS]
    tagged = [(t["tokens"], t["tags"]) for t in TAGGED]
    stream = Stream.from_scenario(scenario([texts, tagged], test=[texts[:4], tagged[:2]]))
    assert [(e.kind, e.classes) for e in stream] == [("sequence", ("0", "1")), ("token", ("O", "B-place", "I-place"))]
    assert stream[0].test[0] == {"text": TEXTS[0]["text"], "label": "1"}
    assert list(stream[1].test) == TAGGED[:2]


def test_classes_have_the_names_that_their_data_set_gives_them() -> None:
    datasets = pytest.importorskip("datasets")
    label = datasets.ClassLabel(names=["no", "yes"])
    rows = {"text": [t["text"] for t in TEXTS], "label": [t["label"] for t in TEXTS]}
    data = datasets.Dataset.from_dict(rows, features=datasets.Features(text=datasets.Value("string"), label=label))
    assert data[0]["label"] == 1
    assert list(Stream.from_scenario(scenario([data], test=[data]))[0].test) == TEXTS
    other = data.cast_column("label", datasets.ClassLabel(names=["bad", "good"]))
    with pytest.raises(UserError, match="experience-0 of the scenario: its data sets name the classes differently"):
        Stream.from_scenario(scenario([data], test=[other]))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: 3, "a int is no Avalanche scenario"),
        (lambda: scenario([TEXTS]), "the scenario has no 'test' stream; it has: train"),
        (lambda: scenario([TEXTS, TEXTS], test=[TEXTS]), "train stream has 2 experiences, its test stream 1"),
        (lambda: scenario([TEXTS, TEXTS], valid=[TEXTS], test=[TEXTS] * 2), "its valid stream 1"),
        (lambda: scenario([TEXTS], valid=[TEXTS] * 2, test=[TEXTS]), "its valid stream 2"),
        (lambda: scenario([MIXED_UP], test=[MIXED_UP]), "experience experience-0 of the scenario: "),
        (lambda: scenario([[("good",)]], test=[TEXTS]), "experience-0/train: sample 0: a tuple has no 'text'"),
        (lambda: scenario([[(0.5, 1)]], test=[TEXTS]), "the text is a float"),
        (
            lambda: scenario([[3]], test=[TEXTS]),
            'A sample is {"text": …, "label": …} or {"tokens": […], "tags": […]}, or',
        ),
        (lambda: scenario([[{"text": "x"}]], test=[TEXTS]), "experience-0/train: sample 0: no key 'label'"),
        (
            lambda: scenario([TAGGED], test=[[{"tokens": ["a"], "tags": ["X"]}]]),
            "experience-0/test: sample 0: 'X' is no",
        ),
        (lambda: scenario([TAGGED], test=[[{"tokens": ["a"], "tags": []}]]), "experience-0/test: sample 0: 1 token"),
    ],
)
def test_scenarios_that_cannot_be_used(made: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        Stream.from_scenario(made())
    assert message in str(caught.value)
