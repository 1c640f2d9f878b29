"""Published splits, by hand on a few sentences and pinned on the real files."""

from __future__ import annotations

from pathlib import Path

import pytest
from seqeval.metrics import f1_score
from seqeval.scheme import IOB2

from cl.config import StreamConfig
from cl.evaluation.predictions import Predicted
from cl.runs.prepare import prepare
from cl.runs.streams import build_stream
from cl.streams import protocols
from cl.streams.stream import Stream
from cl.streams.toy import toy_ner
from cl.testing.tiny import configured, tiny_config, train
from cl.types import SPLITS, Corpus, Examples, UserError, entity_type


def sentences(*types: str) -> Examples:
    """A sentence for each string, with an entity of two words for each of its letters, and an O."""
    tags = [["O", *(tag for name in each for tag in (f"B-{name}", f"I-{name}"))] for each in types]
    return Examples([[f"{i}.{k}" for k in range(len(each))] for i, each in enumerate(tags)], tags)


def corpus(*train: str, rest: tuple[str, ...] = ("a", "", "bc")) -> Corpus:
    return Corpus("c", "token", {"train": sentences(*train), "valid": sentences(*rest), "test": sentences(*rest)})


def test_greedy_split_by_hand() -> None:
    """Entities: a 5, b 3, c 2: c is asked first, then b, then a. Each group may have ⌊10/3⌋ = 3 sentences."""
    given = ("ab", "a", "ac", "b", "abc", "a", "", "a", "", "")
    first, second, third = protocols.greedy_split(sentences(*given), [["a"], ["b"], ["c"]], seed=0)
    # ab → b, a → a, ac → c, b → b, abc → c, a → a, … Sentence 7 holds an a whatever became of sentence 6.
    assert {0, 3} <= set(second)
    assert {2, 4} <= set(third)
    assert {1, 5} <= set(first)
    assert [len(first), len(second), len(third)] == [3, 3, 3]
    dropped = set(range(10)) - {*first, *second, *third}
    assert len(dropped) == 1
    assert dropped <= {7, 8, 9}  # all were full by then
    assert all(list(each) == sorted(each) for each in (first, second, third))


def test_a_full_group_gives_way_to_the_next_type_then_to_chance() -> None:
    # Quotas of 2: b (2 entities) is asked before a (3).
    assert protocols.greedy_split(sentences("ab", "ab", "a", "a"), [["a"], ["b"]]) == [[2, 3], [0, 1]]
    # b (3) is asked before a (4): the third ab finds b full and goes to a.
    assert protocols.greedy_split(sentences("ab", "ab", "ab", "a"), [["a"], ["b"]]) == [[2, 3], [0, 1]]
    # All are a: the first two go there, the others wherever there is room.
    assert protocols.greedy_split(sentences("a", "a", "a", "a", "b", "b"), [["a"], ["b"]]) == [[0, 1, 2], [3, 4, 5]]


def test_quotas_follow_the_number_of_types() -> None:
    split = protocols.greedy_split(sentences(*["a"] * 5, *["b"] * 5, *["c"] * 5), [["a", "b"], ["c"]])
    assert [len(each) for each in split] == [10, 5]


def test_what_each_split_shows() -> None:
    experiences = protocols.cfner(corpus("a", "b", "c", "abc", "ab", "ac"), [2, 1])
    assert [e.classes for e in experiences] == [("O", "B-a", "I-a", "B-b", "I-b"), ("O", "B-c", "I-c")]
    for experience, own in zip(experiences, ("ab", "c"), strict=True):
        for name in SPLITS:
            shown = {entity_type(tag) for sample in experience.split(name) for tag in sample["tags"]}
            assert shown == {None, *own}
        assert len(experience.valid) == len(experience.test) == 3
    assert not {*experiences[0].train.indices} & {*experiences[1].train.indices}


def test_acl24_drops_sentences_without_an_entity() -> None:
    kept = protocols.acl24(corpus("a", "b", "c", "abc", "ab", "ac"), [1])
    assert [list(e.split(name).indices) for e in kept for name in SPLITS[1:]] == [[0, 2]] * 6
    whole = protocols.cfner(corpus("a", "b", "c", "abc", "ab", "ac"), [1])
    assert [e.train.indices for e in kept] == [e.train.indices for e in whole]


def test_pooled_scores_are_those_of_all_types_seen_on_the_whole_test_set() -> None:
    """After each experience: against seqeval on the network's tags, with the types to come as O."""
    ner = toy_ner(0, num_types=3, num_train=120, num_valid=20, num_test=40)
    config = tiny_config()
    prepared = prepare(config, Stream(protocols.cfner(ner, [1])))
    for learnt in range(3):
        end = train(prepared, configured("token", {"joint": {}}), num_experiences=learnt + 1)
        learner = end.learner
        evaluator = prepared.evaluator
        data = evaluator.store.dataset(0, "test")
        said = Predicted.nothing(len(evaluator.store.labels))
        evaluator._predict(learner.network, learner.tools.batches_of(data, 16), said, sure=False)
        predicted = said.columns
        columns = evaluator._columns("token")
        offsets = evaluator.store.word_offsets
        words = [[columns[c] for c in predicted[offsets[row] : offsets[row + 1]]] for row in data.rows]
        seen = {name for e in prepared.stream.experiences[: learnt + 1] for name in e.scored or ()}
        gold = [[tag if entity_type(tag) in seen else "O" for tag in tags] for tags in ner.splits["test"].labels]
        assert any(tag != "O" for tags in words for tag in tags)
        for average in ("micro", "macro"):
            expected = f1_score(gold, words, mode="strict", scheme=IOB2, average=average, zero_division=0)
            assert end.learnt[-1].pooled[f"{average}_f1"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("scenario", "sizes", "pinned"),
    [
        ("cfner", [1, 1], "3864f4cdb8018c9c"),
        ("cfner", [2, 1], "1588e2892df87c22"),
        ("acl24", [1, 1], "43369aa870d95379"),
    ],
)
def test_real_splits_are_pinned(data_folder: Path, scenario: str, sizes: list[int], pinned: str) -> None:
    stream = build_stream(real(data_folder, scenario, sizes))
    assert protocols.fingerprint(stream) == pinned


def test_the_real_split_follows_the_protocol(data_folder: Path) -> None:
    stream = build_stream(real(data_folder, "cfner", [2, 1]))
    assert [e.name for e in stream] == ["location+misc", "organisation", "person"]
    assert [len(e.train) for e in stream] == [14041 * 2 // 4, 14041 // 4, 14041 // 4]
    assert {(len(e.valid), len(e.test)) for e in stream} == {(3250, 3453)}
    assert len({i for e in stream for i in e.train.indices}) == 7020 + 2 * 3510  # disjoint


def real(folder: Path, scenario: str, sizes: list[int]) -> StreamConfig:
    files = {"train": "train.txt", "valid": "dev.txt", "test": "test.txt"}
    conll = {"name": "conll", "kind": "token", "format": "columns", **files}
    root = str(folder / "conll2003_bio")
    return StreamConfig(scenario=scenario, classes_per_experience=sizes, root=root, corpora=[conll])


def test_a_fingerprint_tells_splits_apart() -> None:
    given = corpus("a", "b", "c", "abc", "ab", "ac", *[""] * 12)
    one, other, wider = (protocols.cfner(given, sizes, seed) for sizes, seed in (([1], 0), ([1], 1), ([2, 1], 0)))
    assert len({protocols.fingerprint(each) for each in (one, other, wider)}) == 3
    assert protocols.fingerprint(one) == protocols.fingerprint(protocols.cfner(given, [1], 0))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_order": ["b", "a"]}, "class_order: the scenario cfner does not read it, it is for class, task"),
        ({"corpora": [{"kind": "sequence"}]}, "the protocol cfner is for one corpus of kind token"),
        ({"classes_per_experience": None}, "classes_per_experience is None"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    (tmp_path / "n.txt").write_text("x B-a\n\ny B-b\n\nz O\n", encoding="utf-8")
    (tmp_path / "s.csv").write_text("text,label\n" + "x,a\ny,b\n" * 3, encoding="utf-8")
    token = {"name": "n", "kind": "token", "format": "columns", "train": "n.txt", "valid": "n.txt", "test": "n.txt"}
    if "corpora" in changes:
        changes = {"corpora": [token | {"kind": "sequence", "format": "csv"} | dict.fromkeys(SPLITS, "s.csv")]}
    options = {"classes_per_experience": [1], "corpora": [token]} | changes
    with pytest.raises(UserError, match=message):
        build_stream(StreamConfig(scenario="cfner", root=str(tmp_path), **options))  # type: ignore[arg-type]
