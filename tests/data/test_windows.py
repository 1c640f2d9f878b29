"""Long texts in windows: every word once, with context, and scores of whole texts."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from cl.batches import Batch, Output, Outputs
from cl.config import NetworkConfig
from cl.data.collate import collate
from cl.data.dataset import Dataset, Store
from cl.data.encode import Encoder
from cl.data.module import PassLoader
from cl.data.windows import Overflow, borders, starts_of_windows
from cl.evaluation.evaluator import Evaluator
from cl.models.backbone import word_pieces
from cl.runs.prepare import prepare
from cl.streams.scenarios import by_corpus
from cl.testing.tiny import assert_same, configured, train
from cl.types import SPLITS, Corpus, Examples, Experience

WORDS = ["we", "met", "Ann", "Lee", "in", "Rome", "good", "bad"]
LONG = ["we", "met", "in", "Ann", "Lee", "Lee", "met", "we", "Rome"]  # Ann Lee Lee lies across borders
NER = Examples([LONG, ["Rome"]], [["O", "O", "O", "B-per", "I-per", "I-per", "O", "O", "B-loc"], ["B-loc"]])
REVIEWS = Examples(["good " * 4 + "bad " * 3, "bad", "good good"], ["bad", "bad", "good"])


def store_of(corpus: Corpus, max_length: int, overflow: Overflow = "split") -> tuple[list[Experience], Store]:
    experiences = by_corpus([corpus])
    return experiences, Store.build(experiences, Encoder(word_pieces(WORDS, 99), max_length, overflow=overflow))


@given(st.integers(2, 200), st.integers(1, 60), st.booleans())
def test_windows_cover_everything_and_overlap(length: int, size: int, shared: bool) -> None:
    overlap = size // 2 if shared else 0
    if length <= size:
        return
    firsts = starts_of_windows(length, size, overlap)
    assert (firsts[0], firsts[-1]) == (0, length - size), "full windows from the beginning to the end"
    assert all(0 < b - a <= size - overlap for a, b in pairwise(firsts))
    owners = [sum(place >= border for border in borders(firsts, size)) for place in range(length)]
    for place, owner in enumerate(owners):
        before, after = place - firsts[owner], firsts[owner] + size - 1 - place
        assert before >= min(place, overlap // 2)
        assert after >= min(length - 1 - place, overlap // 2 - 1, size)
        assert after >= 0


def test_windows_by_hand() -> None:
    """Nine words of a token each, and room for four: windows begin at 0, 1, 3 and 5, borders are 2, 4 and 6."""
    encoder = Encoder(word_pieces(WORDS, 99), 6, overflow="split")
    encoded = encoder.encode([LONG, ["Rome"]], "token")
    tokens = encoder.tokenizer.convert_ids_to_tokens(encoded.ids)
    rows = [tokens[a:b] for a, b in pairwise(encoded.offsets)]
    shown = ["we met in Ann", "met in Ann Lee", "Ann Lee Lee met", "Lee met we Rome", "Rome"]
    assert [" ".join(row) for row in rows] == [f"[CLS] {words} [SEP]" for words in shown]
    starts = [encoded.positions[a:b] for a, b in pairwise(encoded.word_offsets)]
    owned = [" ".join(row[start] for start in of_row) for row, of_row in zip(rows, starts, strict=True)]
    assert owned == ["we met", "in Ann", "Lee Lee", "met we Rome", "Rome"]
    assert encoded.text.tolist() == [0, 0, 0, 0, 1]
    assert not encoded.cut.sum()


def test_a_word_longer_than_a_window_has_one_row_of_its_own() -> None:
    encoded = Encoder(word_pieces(["a b c d e f g h"], 99), 5, overflow="split").encode([["abcdefgh", "a"]], "token")
    assert len(encoded.positions) == 2
    assert (encoded.positions >= 1).all()
    assert (torch.tensor(encoded.word_offsets).diff() > 0).all(), "no row without a word"


def test_a_long_text_by_hand() -> None:
    """Seven words and room for three: windows that hold the whole text, as few as can be, all of them full."""
    encoder = Encoder(word_pieces(WORDS, 99), 5, overflow="split")
    encoded = encoder.encode(REVIEWS.inputs, "sequence")
    tokens = encoder.tokenizer.convert_ids_to_tokens(encoded.ids)
    rows = [" ".join(tokens[a + 1 : b - 1]) for a, b in pairwise(encoded.offsets)]
    assert rows == ["good good good", "good good bad", "bad bad bad", "bad", "good good"]
    assert encoded.text.tolist() == [0, 0, 0, 1, 2]
    assert encoded.positions.tolist() == [0] * 5


def test_where_nothing_overflows_split_is_cut() -> None:
    tokenizer = word_pieces(WORDS, 99)
    for inputs, kind in ((NER.inputs, "token"), (REVIEWS.inputs, "sequence")):
        one, other = (Encoder(tokenizer, 16, overflow=overflow).encode(inputs, kind) for overflow in ("cut", "split"))
        assert all((a == b).all() for a, b in zip(one.__dict__.values(), other.__dict__.values(), strict=True))


def test_every_word_is_a_target_once_and_every_window_has_its_texts_label() -> None:
    _, store = store_of(Corpus("n", "token", dict.fromkeys(SPLITS, NER)), 6)
    batch = collate(store.dataset(0, "train"), 0, training=True)
    assert batch.targets["token"].labels.tolist() == [0, 0, 0, 3, 4, 4, 0, 0, 1, 1]  # O, B-loc, I-loc, B-per, I-per
    assert batch.targets["token"].words.tolist() == list(range(10))
    assert batch.counts["token"] == (5, 10)
    _, store = store_of(Corpus("a", "sequence", dict.fromkeys(SPLITS, REVIEWS)), 5)
    batch = collate(store.dataset(0, "train"), 0, training=True)
    assert batch.targets["sequence"].labels.tolist() == [0, 0, 0, 0, 1]  # bad, good
    assert batch.counts["sequence"] == (5, 5)


class Known(nn.Module):
    """A network whose logits are those of a word's token; of a text, the sum over its tokens."""

    def __init__(self, logits: Tensor, kind: str) -> None:
        super().__init__()
        self.logits, self.kind = logits, kind

    def forward(self, batch: Batch) -> Outputs:
        targets = batch.targets[self.kind]  # type: ignore[index]
        of_token = self.logits[batch.input_ids] * batch.attention_mask.unsqueeze(-1)
        logits = of_token[targets.rows, targets.positions] if self.kind == "token" else of_token.sum(1)[targets.rows]
        return {self.kind: Output(logits, logits, logits, targets)}  # type: ignore[dict-item]


def counts_of(corpus: Corpus, max_length: int, logits: Tensor, num_ranks: int = 1) -> list[list[int]]:
    experiences, store = store_of(corpus, max_length)
    evaluator, total = Evaluator(experiences, store), []
    for rank in range(num_ranks):

        def passes(data: Dataset, rank: int = rank) -> PassLoader:
            return PassLoader(data, 0, batch_size=2, rank=rank, num_ranks=num_ranks)

        total.append(evaluator.counts(Known(logits, corpus.kind), [0], "test", passes, 0)[0][:, :3])  # type: ignore[arg-type]
    return torch.stack(total).sum(0).tolist()


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_entities_over_a_border_are_whole(num_ranks: int) -> None:
    """Ann Lee Lee lies in three windows. Right: one person of one, two places of two."""
    vocabulary = word_pieces(WORDS, 99).get_vocab()
    logits = torch.zeros(len(vocabulary), 5)
    for word, column in {"Rome": 1, "Ann": 3, "Lee": 4}.items():
        logits[vocabulary[word], column] = 1.0
    corpus = Corpus("n", "token", dict.fromkeys(SPLITS, NER))
    for max_length in (6, 7, 32):
        assert counts_of(corpus, max_length, logits, num_ranks) == [[2, 2, 2], [1, 1, 1]]


@pytest.mark.parametrize("num_ranks", [1, 2, 3])
def test_a_text_counts_once_by_the_mean_of_its_windows(num_ranks: int) -> None:
    """Its windows say good 3, good 2 or bad 1, and bad 3: the mean says good while 5 > 4 · (what a bad is worth)."""
    vocabulary = word_pieces(WORDS, 99).get_vocab()
    logits = torch.zeros(len(vocabulary), 2)
    logits[vocabulary["good"], 1] = 1.0
    corpus = Corpus("a", "sequence", dict.fromkeys(SPLITS, REVIEWS))
    for worth, found in ((1.2, [[1, 1, 2], [1, 2, 1]]), (1.3, [[2, 2, 2], [1, 1, 1]])):
        logits[vocabulary["bad"], 0] = worth
        assert counts_of(corpus, 5, logits, num_ranks) == found


def test_a_run_in_windows_learns_and_scores() -> None:
    """A tiny stream with a limit that most of its texts pass: as split, it is scored without a word cut off."""
    config = configured("mixed", {"replay": {"capacity": 20, "batch_size": 4}})
    network = NetworkConfig(dropout=0.0, max_length=8, overflow="split", scratch=config.network.scratch)
    ends = []
    for _ in range(2):
        prepared = prepare(replace(config, network=network))
        assert not any("cut off" in warning for warning in prepared.warnings)
        store = prepared.evaluator.store
        assert len(store.text) > len(store.cut)
        assert (store.positions >= 0).all()
        ends.append(train(prepared, config, 3))
    assert_same(ends[0].weights, ends[1].weights)
    assert ends[0].rows == ends[1].rows


def test_the_share_that_is_cut_off_is_told() -> None:
    _, store = store_of(Corpus("n", "token", dict.fromkeys(SPLITS, NER)), 6, "cut")
    (warning,) = store.warnings()
    assert warning.startswith("1 of 2 texts (50.0%) are cut off at network.max_length")
    assert "network.overflow=split" in warning
