"""The tiny streams teach something: that scores are the same, or differ, says nothing where all of them are 0."""

from __future__ import annotations

from functools import cache
from itertools import combinations

import pytest

from cl.testing import Subject
from cl.testing.tiny import configured, prepared, train


@cache
def rows(name: str | None, stream: str) -> tuple[tuple[float, ...], ...]:
    """The scores after each experience of those learnt so far."""
    plugins = {} if name is None else Subject.listed(name).strategy()
    found = train(prepared(stream), configured(stream, plugins)).rows
    return tuple(tuple(each["score"] for each in row[: i + 1]) for i, row in enumerate(found))


def test_entities_are_found_and_forgotten() -> None:
    """Each type is found once it has been learnt, each to another degree; finetuning then forgets it."""
    finetuned = rows(None, "token")
    learnt = [row[-1] for row in finetuned]
    assert min(learnt) > 0.2 and len(set(learnt)) == 3
    assert max(finetuned[-1][:-1]) < 0.1


@pytest.mark.parametrize("name", ["joint", "independent"])
def test_what_does_not_forget_finds_all_types(name: str) -> None:
    last = rows(name, "token")[-1]
    assert min(last) > 0.2 and len(set(last)) == 3


def test_plugins_have_scores_of_their_own() -> None:
    """So that one that ends as finetuning does, or as another one, would be seen in its scores."""
    names = (None, "joint", "independent", "replay", "lwf", "selftrain", "extendner")
    for one, other in combinations(names, 2):
        assert rows(one, "token") != rows(other, "token"), f"{one} and {other} score alike"
