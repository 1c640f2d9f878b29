"""Batches: who is in which, what counts, and which classes are candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cl.batches import Batch, Output, Step
from cl.data.collate import Counts, collate, concat, count
from cl.data.dataset import Dataset, Store
from cl.data.encode import Encoder
from cl.data.module import ExperienceData, TrainLoader
from cl.data.sampler import global_batches, share, token_batches
from cl.models.backbone import word_pieces
from cl.runs.prepare import Prepared
from cl.streams.scenarios import by_class, by_corpus
from cl.types import SPLITS, Corpus, Examples

NER = Examples(
    [["we", "met", "Ann"], ["in", "Bali"], ["Ann", "left", "Bali"]],
    [["O", "O", "B-per"], ["O", "B-loc"], ["B-per", "O", "B-loc"]],
)
REVIEWS = Examples(["good", "not good at all"], ["positive", "negative"])


def store_of(experiences: list) -> Store:  # type: ignore[type-arg]
    return Store.build(experiences, Encoder(word_pieces(["we met Ann in Bali left good not at all"], 99), 16))


@given(st.integers(1, 70), st.integers(1, 9), st.integers(1, 6), st.integers(0, 3))
def test_everyone_once_whatever_the_split(num_examples: int, batch_size: int, num_parts: int, epoch: int) -> None:
    lengths = torch.arange(num_examples) % 7
    batches = global_batches(lengths, batch_size, 0, "order", 1, epoch)
    assert sorted(torch.cat(batches).tolist()) == list(range(num_examples))
    assert sum(len(b) < batch_size for b in batches) <= 1
    for batch in batches:
        assert sorted(torch.cat([share(batch, p, num_parts) for p in range(num_parts)]).tolist()) == sorted(
            batch.tolist()
        )


def test_order_is_a_function_of_its_key_alone() -> None:
    lengths = torch.arange(50)
    torch.manual_seed(1)
    first = torch.cat(global_batches(lengths, 4, 0, "order", 2, 0))
    torch.manual_seed(2)
    assert torch.equal(first, torch.cat(global_batches(lengths, 4, 0, "order", 2, 0)))
    assert not torch.equal(first, torch.cat(global_batches(lengths, 4, 0, "order", 2, 1)))
    assert not torch.equal(first, torch.cat(global_batches(lengths, 4, 1, "order", 2, 0)))


def test_padding_changes_nothing(prepared: Callable[[str], Prepared]) -> None:
    """A batch with more padding has the same targets, and the network the same logits to float tolerance."""
    from cl.runs.learners import build_learner
    from cl.testing.tiny import configured

    data = prepared("mixed")
    learner = build_learner(configured("mixed", {}), data, "tested", 0)
    for experience in data.stream:
        learner.begin(experience)
    learner.network.double().eval()
    store = data.evaluator.store
    batch = collate(store.dataset(0, "train") + store.dataset(3, "train"), 3, training=False)
    wider = replace(
        batch,
        input_ids=torch.nn.functional.pad(batch.input_ids, (0, 4), value=1),
        attention_mask=torch.nn.functional.pad(batch.attention_mask, (0, 4)),
    )
    for kind, output in learner.network(batch).items():
        assert torch.allclose(output.logits, learner.network(wider)[kind].logits, atol=1e-12)


def test_old_o_leaves_out_types_that_its_labels_never_told_of() -> None:
    experiences = by_class([Corpus("ner", "token", dict.fromkeys(SPLITS, NER))], [1])
    store = store_of(experiences)  # loc: O B-loc I-loc, then per: B-per I-per
    row = store.splits[0, "test"][:1]  # "we met Ann", where Ann is O to the experience that knows loc alone
    old = Dataset(store, row, torch.tensor([0]), torch.tensor([0]))
    batch = collate(old, 1, training=True)
    assert batch.targets["token"].labels.tolist() == [0, 0, 0]
    assert batch.targets["token"].candidates is not None
    assert batch.targets["token"].candidates.tolist() == [[True, True, True, False, False]] * 3
    current = Dataset(store, row, torch.tensor([1]), torch.tensor([1]))
    assert collate(current, 1, training=True).targets["token"].labels.tolist() == [0, 0, 3]
    assert collate(current, 1, training=True).targets["token"].candidates is None
    assert collate(old, 1, training=False).targets["token"].candidates is None, "labels must not guide a prediction"
    assert collate(old.seeing(1), 1, training=True).targets["token"].labels.tolist() == [0, 0, 3]


def test_task_incremental_candidates_are_the_experiences_own() -> None:
    corpora = [Corpus(name, "sequence", dict.fromkeys(SPLITS, REVIEWS)) for name in ("books", "dvd")]
    store = store_of(by_corpus(corpora, "own"))
    both = store.dataset(0, "test") + store.dataset(1, "test")
    targets = collate(both, 1, training=False).targets["sequence"]
    assert targets.labels.tolist() == [1, 0, 3, 2]
    assert targets.candidates is not None
    assert targets.candidates.int().tolist() == [[1, 1, 0, 0]] * 2 + [[0, 0, 1, 1]] * 2


def test_domain_incremental_shares_columns() -> None:
    corpora = [Corpus(name, "sequence", dict.fromkeys(SPLITS, REVIEWS)) for name in ("books", "dvd")]
    store = store_of(by_corpus(corpora))
    targets = collate(store.dataset(1, "test"), 1, training=True).targets["sequence"]
    assert targets.labels.tolist() == [1, 0]
    assert targets.candidates is None


def test_kinds_weigh_by_their_examples() -> None:
    """One sentence of 10 words and 3 reviews: a quarter each; a word a fortieth."""
    nothing = torch.zeros(0, 0, dtype=torch.int64)
    counts: Counts = {"token": (1, 10), "sequence": (3, 3)}
    batch = Batch(nothing, nothing, nothing, nothing, {}, counts)
    assert batch.weight("token") == pytest.approx(1 / 40)
    assert batch.weight("sequence") == pytest.approx(1 / 4)
    alone = replace(batch, counts={"token": (2, 10), "sequence": (0, 0)})
    assert alone.weight("token") == pytest.approx(1 / 10)
    assert alone.weight("sequence") == 0.0


def test_words_cut_off_at_the_limit_are_no_targets() -> None:
    long = Examples([["we"] * 7, ["met", "Ann"]], [["B-per"] * 7, ["O", "B-per"]])
    experiences = by_corpus([Corpus("b", "token", dict.fromkeys(SPLITS, long))])
    store = Store.build(experiences, Encoder(word_pieces(["we met Ann"], 99), 5))
    data = store.dataset(0, "train")
    targets = collate(data, 0, training=True).targets["token"]
    assert targets.rows.tolist() == [0, 0, 0, 1, 1]
    assert targets.positions.tolist() == [1, 2, 3, 1, 2]
    assert targets.labels.tolist() == [1, 1, 1, 0, 1]
    assert count(data)["token"] == (2, 5)


def order(learnt: int = 0, seed: int = 0, num_epochs: int = 1, **options: int) -> list[list[int]]:
    """The steps' examples of 12 reviews of one length."""
    reviews = Examples([f"good {n}" for n in range(12)], ["yes", "no"] * 6)
    store = store_of(by_corpus([Corpus("a", "sequence", dict.fromkeys(SPLITS, reviews))]))
    plan = ExperienceData(store.dataset(0, "train"), learnt, batch_size=4, max_epochs=num_epochs, seed=seed, **options)
    return [batch.tolist() for batch in plan.global_batches()]


@pytest.mark.parametrize("options", [{}, {"batch_tokens": 20}])
def test_experiences_epochs_and_seeds_have_orders_of_their_own(options: dict[str, int]) -> None:
    first = order(**options)
    assert first == order(**options)
    assert first != order(learnt=1, **options)
    assert first != order(seed=1, **options)
    two = order(num_epochs=2, **options)
    assert two[: len(first)] == first != two[len(first) :]
    assert order(num_epochs=2, start=2, **options) == two[2:]


@pytest.mark.parametrize("num_parts", [1, 2, 3, 7])
def test_weights_of_all_shares_add_up_to_one(num_parts: int) -> None:
    mixed = [
        *by_corpus(
            [Corpus("a", "sequence", dict.fromkeys(SPLITS, REVIEWS)), Corpus("b", "token", dict.fromkeys(SPLITS, NER))]
        )
    ]
    store = store_of(mixed)
    data = store.dataset(0, "train") + store.dataset(1, "train")
    plan = ExperienceData(data, 1, batch_size=4, max_epochs=2, seed=0)
    loaders = [TrainLoader(plan, accumulate=1, rank=r, num_ranks=num_parts) for r in range(num_parts)]
    for shares in zip(*loaders, strict=True):
        assert [len(s) > 0 for s in shares] == [True] * num_parts, "an empty share takes part with a placeholder"
        total = sum(s.weight(kind) * len(s.targets[kind]) for s in shares for kind in s.targets)
        assert total == pytest.approx(1.0)
        examples = {kind: sum(len(s.targets[kind].rows.unique()) for s in shares) for kind in shares[0].targets}
        for kind, number in examples.items():
            of_kind = sum(s.weight(kind) * len(s.targets[kind]) for s in shares)
            assert of_kind == pytest.approx(number / sum(examples.values()))


def step_of_three(placeholder: bool = False, num_parts: int = 1) -> Step:
    """A step of three sentences that nothing was asked of; a placeholder has no target."""
    experience, *_ = by_corpus([Corpus("b", "token", dict.fromkeys(SPLITS, NER))])
    data = store_of([experience]).dataset(0, "train")
    batch = replace(collate(data, 0, training=True, placeholder=placeholder), num_parts=num_parts)
    targets = batch.targets["token"]
    logits = torch.zeros(len(targets), 5)
    return Step(experience, batch, {"token": Output(logits, logits, logits, targets)})


def test_a_penalty_is_dealt_out() -> None:
    assert float(step_of_three(num_parts=4).share(torch.tensor(8.0))) == 2.0


def test_a_mean_of_examples_is_over_those_with_targets() -> None:
    values = torch.tensor([1.0, 2.0, 6.0])
    assert float(step_of_three().mean_of_examples(values)) == 3.0
    assert float(step_of_three(placeholder=True).mean_of_examples(values)) == 0.0


def test_a_limit_of_steps_ends_an_experience() -> None:
    assert len(order(num_epochs=2, max_steps=4)) == 4
    assert len(order(num_epochs=2, max_steps=9)) == 6


def test_concat_is_collating_together() -> None:
    store = store_of(
        by_corpus(
            [Corpus("a", "sequence", dict.fromkeys(SPLITS, REVIEWS)), Corpus("b", "token", dict.fromkeys(SPLITS, NER))]
        )
    )
    first, second = store.dataset(0, "train"), store.dataset(1, "train")
    joined = concat(collate(first, 1, training=True), collate(second, 1, training=True))
    together = collate(first + second, 1, training=True)
    assert torch.equal(joined.input_ids, together.input_ids)
    assert joined.counts == together.counts == count(first + second)
    for kind in together.targets:
        for name in ("rows", "positions", "labels", "words"):
            assert torch.equal(getattr(joined.targets[kind], name), getattr(together.targets[kind], name))


def test_groups_are_classes_or_the_rarest_type() -> None:
    store = store_of(by_corpus([Corpus("b", "token", dict.fromkeys(SPLITS, NER))]))
    # loc and per stand twice each: O < loc = per, ties by column
    assert store.dataset(0, "train").groups().tolist() == [3, 1, 1]
    store = store_of(by_corpus([Corpus("a", "sequence", dict.fromkeys(SPLITS, REVIEWS))]))
    assert store.dataset(0, "train").groups().tolist() == [1, 0]
    # O is the last choice, even where it is rarest; I-loc counts as loc.
    dense = Examples(
        [["Bali", "Bali", "in"], ["Bali", "Bali"], ["in"]], [["B-loc", "I-loc", "O"], ["B-loc"] * 2, ["O"]]
    )
    store = store_of(by_corpus([Corpus("b", "token", dict.fromkeys(SPLITS, dense))]))
    assert store.dataset(0, "train").groups().tolist() == [1, 1, 0]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=80), st.integers(1, 200))
def test_batches_of_a_token_budget(lengths: list[int], budget: int) -> None:
    sizes = torch.tensor(lengths)
    epochs = [token_batches(sizes, budget, 0, epoch) for epoch in range(3)]
    assert len({len(batches) for batches in epochs}) == 1, "an epoch has the same number of steps as the next"
    for batches in epochs:
        assert torch.cat(batches).sort().values.tolist() == list(range(len(lengths)))
        assert all(len(b) * sizes[b].max() <= budget or len(b) == 1 for b in batches)
        for one, other in pairwise(batches):
            longest = sizes[other[0]]
            assert (len(one) + 1) * longest > budget, "no batch could have taken one more"


@pytest.mark.parametrize("num_parts", [2, 4, 8])
def test_shares_have_like_numbers_of_tokens(num_parts: int) -> None:
    """What ranks wait for each other: at most 2 % of a step of 32 sentences, were time that of tokens."""
    lengths = torch.randint(4, 60, (2000,), generator=torch.Generator().manual_seed(0))
    waits = []
    for batch in global_batches(lengths, 32, 0)[:-1]:
        tokens = torch.stack([lengths[share(batch, part, num_parts)].sum() for part in range(num_parts)]).double()
        waits.append(float(tokens.mean() / tokens.max()))
    assert sum(waits) / len(waits) > 0.98
