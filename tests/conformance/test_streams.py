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


@pytest.mark.parametrize("stream", ["token", "mixed", "own"])
def test_entities_are_found(stream: str) -> None:
    """Each type once it has been learnt, each to another degree."""
    types = [i for i, experience in enumerate(prepared(stream).stream) if experience.kind == "token"]
    learnt = [rows(None, stream)[i][i] for i in types]
    assert min(learnt) > 0 and len(set(learnt)) == len(types)


@pytest.mark.parametrize("name", ["joint", "independent"])
def test_finetuning_forgets_entities_and_these_do_not(name: str) -> None:
    assert sum(rows(None, "token")[-1][:-1]) < sum(rows(name, "token")[-1][:-1])


@pytest.mark.parametrize("stream", ["token", "mixed"])
def test_plugins_have_scores_of_their_own(stream: str) -> None:
    """So that one that ends as finetuning does, or as another one, would be seen in its scores."""
    names = (None, "joint", "independent", "replay", "lwf", "selftrain", "extendner")
    for one, other in combinations(names, 2):
        assert rows(one, stream) != rows(other, stream), f"{one} and {other} score alike"
