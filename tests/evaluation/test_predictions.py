"""What is kept of predictions, on one or several ranks, and what is told of mistakes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from cl.data.dataset import Store
from cl.data.encode import Encoder
from cl.data.module import PassLoader
from cl.evaluation.errors import NOTHING, errors_of
from cl.evaluation.predictions import Predicted, _pooled, load, save
from cl.models.backbone import word_pieces
from cl.reporting.errors import write_errors
from cl.runs.learners import build_learner
from cl.runs.prepare import Prepared
from cl.streams.scenarios import by_class, by_corpus
from cl.testing.tiny import configured
from cl.types import SPLITS, Corpus, Examples, Experience, UserError

WORDS = ["we", "met", "Ann", "Lee", "in", "Rome", "good", "bad"]
NER = Examples(
    [["Ann", "Lee", "met", "Ann"], ["we", "in", "Rome"]], [["B-per", "I-per", "O", "B-per"], ["O", "O", "B-loc"]]
)
REVIEWS = Examples(["so good", "bad " * 20, "so bad"], ["good", "bad", "bad"])


def store_of(experiences: list[Experience]) -> Store:
    return Store.build(experiences, Encoder(word_pieces(WORDS, 99), 16))


def test_several_ranks_keep_what_one_keeps(prepared: Callable[[str], Prepared]) -> None:
    """Windows, sentences and texts alike: each word was seen by one rank."""
    data = prepared("mixed")
    learner = build_learner(configured("mixed", {}), data, "tested", 0)
    for experience in data.stream:
        learner.begin(experience)
    which = range(len(data.stream))

    def kept(rank: int, num_ranks: int) -> dict[int, Predicted]:
        found: dict[int, Predicted] = {}

        def passes(dataset: object) -> PassLoader:
            return PassLoader(dataset, learner.experience.index, batch_size=4, rank=rank, num_ranks=num_ranks)

        learner.evaluator.counts(learner.network, which, "test", passes, learner.experience.index, found)
        return found

    whole, shares = kept(0, 1), [kept(rank, 3) for rank in range(3)]
    assert all((share[0].columns == -1).any() for share in shares), "none saw all of it"
    theirs = [
        {str(e): sum(share[e].columns + 1 for share in shares[1:]) for e in which},
        {str(e): sum(share[e].probability for share in shares[1:]) for e in which},
    ]

    def summed(mine: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        others = theirs.pop(0)
        return {name: tensor + others[name] for name, tensor in mine.items()}

    learner.tools.sum = summed
    for e, found in learner._of_all_ranks(shares[0]).items():
        assert torch.equal(found.columns, whole[e].columns)
        torch.testing.assert_close(found.probability, whole[e].probability)


def test_nothing_is_kept_of_what_a_rank_has_not_seen() -> None:
    """Words of an earlier pass, with other candidates, may stand there still."""
    said = Predicted(torch.tensor([4, 5, 6]), torch.tensor([0.4, 0.5, 0.6]))
    kept = said.at(torch.tensor([2, 0]), torch.tensor([True, False]))
    assert kept.columns.tolist() == [6, -1] and kept.probability.tolist() == [pytest.approx(0.6), 0.0]


def test_windows_of_a_text_share_the_mean_of_their_logits() -> None:
    experiences = by_corpus([Corpus("reviews", "sequence", dict.fromkeys(SPLITS, REVIEWS))])
    store = Store.build(experiences, Encoder(word_pieces(WORDS, 99), 16, overflow="split"))
    words = store.is_part.nonzero().flatten()
    assert len(words) == 2, "the second text alone is longer"
    assert _pooled(store, words, torch.tensor([[1.0, 0.0], [3.0, 2.0]])).tolist() == [[2.0, 1.0]] * 2


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    experiences = by_corpus([Corpus("ner", "token", dict.fromkeys(SPLITS, NER))])
    columns = torch.tensor([3, 4, 0, -1, 0, 0, 1])
    predicted = Predicted(columns, torch.full((7,), 0.5))
    save(tmp_path, 0, {0: predicted}, store_of(experiences), "test")
    found = load(tmp_path, 0)
    assert found["columns/0"].tolist() == columns.tolist()
    assert found["text/0"].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert found["gold/0"].tolist() == [3, 4, 0, 3, 0, 0, 1]  # O, loc, per
    with pytest.raises(UserError, match=r"e0001.npz: no such file.*evaluate.predictions=true"):
        load(tmp_path, 1)


def test_classes_that_are_mistaken() -> None:
    experiences = by_corpus([Corpus("reviews", "sequence", dict.fromkeys(SPLITS, REVIEWS))])
    predicted = Predicted(torch.tensor([1, 1, 0]), torch.tensor([0.7, 0.9, 0.6]))
    (errors,) = errors_of(experiences, 0, {0: predicted}, store_of(experiences), "test")
    assert errors.names == ("bad", "good")
    assert errors.counts.tolist() == [[1, 1], [0, 1]]
    (mistake,) = errors.mistakes
    assert (mistake.gold, mistake.predicted, mistake.text) == ("bad", "good", " ".join(["bad"] * 10) + " …")


def test_entities_that_are_mistaken(tmp_path: Path) -> None:
    """Ann Lee is called a place, Ann is missed as it was cut off, and `we` is invented; told once for both types."""
    experiences = by_class([Corpus("ner", "token", dict.fromkeys(SPLITS, NER))], [1])
    assert [e.name for e in experiences] == ["loc", "per"]
    columns = torch.tensor([1, 2, 0, -1, 3, 0, 1])
    predicted = Predicted(columns, torch.tensor([0.8, 0.8, 0.9, 0.0, 0.95, 0.9, 0.9]))
    found = {0: predicted, 1: predicted}
    (errors,) = errors_of(experiences, 1, found, store_of(experiences), "test")
    assert (errors.experience, errors.names) == ("loc, per", ("loc", "per", NOTHING))
    assert errors.counts.tolist() == [[1, 0, 0], [1, 0, 1], [0, 1, 0]]
    told = [(m.gold, m.predicted, m.words, m.text) for m in errors.mistakes]
    assert told == [
        (NOTHING, "per", "we", "we in Rome"),
        ("per", "loc", "Ann Lee", "Ann Lee met Ann"),
        ("per", NOTHING, "Ann", "Ann Lee met Ann"),
    ]
    write_errors(tmp_path, "per", [errors])
    text = (tmp_path / "errors.txt").read_text(encoding="utf-8")
    assert "Errors after per" in text
    assert ["per", "1", "–", "1", "2"] in [line.split() for line in text.splitlines()]


def test_an_entity_with_another_end_is_missed_and_invented() -> None:
    experiences = by_corpus([Corpus("ner", "token", dict.fromkeys(SPLITS, NER))])
    predicted = Predicted(torch.tensor([3, 0, 0, 3, 0, 0, 1]), torch.ones(7))  # O, loc, per
    (errors,) = errors_of(experiences, 0, {0: predicted}, store_of(experiences), "test")
    assert errors.counts.tolist() == [[1, 0, 0], [0, 1, 1], [0, 1, 0]]


def test_of_networks_that_differ_each_is_told() -> None:
    experiences = by_class([Corpus("ner", "token", dict.fromkeys(SPLITS, NER))], [1])
    one, other = (Predicted(torch.full((7,), column), torch.ones(7)) for column in (0, 1))
    assert len(errors_of(experiences, 1, {0: one, 1: other}, store_of(experiences), "test")) == 2


def test_of_many_classes_the_most_frequent_confusions_are_listed(tmp_path: Path) -> None:
    names = [f"intent{i:02d}" for i in range(15)]
    texts = Examples([f"so {name}" for name in names], names)
    experiences = by_corpus([Corpus("intents", "sequence", dict.fromkeys(SPLITS, texts))])
    predicted = Predicted(torch.tensor([1, *range(1, 15)]), torch.ones(15))
    write_errors(tmp_path, "intents", errors_of(experiences, 0, {0: predicted}, store_of(experiences), "test"))
    text = (tmp_path / "errors.txt").read_text(encoding="utf-8")
    assert ["intent00", "intent01", "1", "1"] in [line.split() for line in text.splitlines()]
    assert "intent14" not in text
