"""What every strategy promises. Being listed in PLUGINS is being tested here."""

from __future__ import annotations

from itertools import combinations, product

import pytest

from cl.plugins import PLUGINS
from cl.plugins.base import SEAMS
from cl.plugins.strategy import Strategy
from cl.testing import PROMISES, Subject
from cl.testing.composition import COMPOSED, composes
from cl.testing.proof import ON_RANKS, prove_on_ranks
from cl.testing.tiny import prepared
from cl.testing.watching import overrides
from cl.types import UserError

Pair = tuple[str, str]
ALL_PAIRS = list(combinations(PLUGINS, 2))


def can_meet(pair: Pair) -> bool:
    """Whether the two may stand in one strategy. Whether others are refused in either order costs no training."""
    try:
        Strategy({name: PLUGINS[name]() for name in pair})
    except UserError:
        return False
    return True


def met_by(pair: Pair) -> set[object]:
    """What meets in a pair: the plugins, and each seam or trait of the one with each of the other."""
    one, other = ({seam for seam in SEAMS if overrides(PLUGINS[name], seam)} | PLUGINS[name].traits for name in pair)
    return {*pair, *(frozenset(two) for two in product(one, other))}


def sampled() -> list[Pair]:
    """Pairs in which all meets that can, as few as a greedy choice finds; all pairs meet in the slow tier."""
    pairs = [pair for pair in ALL_PAIRS if can_meet(pair)]
    left, few = set().union(*map(met_by, pairs)), []
    while left:
        few.append(max(pairs, key=lambda pair: len(met_by(pair) & left)))
        left -= met_by(few[-1])
    return few + [pair for pair in ALL_PAIRS if pair not in pairs]


SAMPLED = set(sampled())
IMPLIED = {("split_invariance", "mixed")}  # by the stream `own`, which has both kinds too; run in the slow tier
CASES = [(p, stream) for p, (_, streams) in PROMISES.items() if p != "it_composes_or_is_refused" for stream in streams]


@pytest.mark.parametrize(
    ("promise", "stream"),
    [pytest.param(*case, marks=[pytest.mark.slow] if case in IMPLIED else []) for case in CASES],
)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in PLUGINS])
def test_promise(name: str, promise: str, stream: str) -> None:
    PROMISES[promise][0](Subject.listed(name), stream)


@pytest.mark.parametrize(
    ("pair", "stream"),
    [
        pytest.param(pair, stream, id=f"{'+'.join(pair)}-{stream}", marks=[] if pair in SAMPLED else pytest.mark.slow)
        for stream in COMPOSED
        for pair in ALL_PAIRS
    ],
)
def test_composition(pair: tuple[str, str], stream: str) -> None:
    composes(*map(Subject.listed, pair), stream=stream)


@pytest.mark.parametrize("stream", COMPOSED)
def test_there_is_something_old_of_each_kind_where_plugins_compose(stream: str) -> None:
    learnt = [each.kind for each in prepared(stream).stream.experiences[: COMPOSED[stream]["num_experiences"]]]
    assert all(learnt.count(kind) >= 2 for kind in set(learnt))
    assert set(learnt) == {each.kind for each in prepared(stream).stream}


@pytest.mark.distributed
@pytest.mark.timeout(600)
def test_two_ranks_are_one_and_a_buffer_of_one_rank_is_found() -> None:
    """On every stream, with accumulation, with dropout. Together, since starting two processes takes long."""
    broken = Subject("conformance.test_mutations.RankLocalBuffer", {"capacity": 10})
    found = prove_on_ranks([*map(Subject.listed, PLUGINS), broken])
    assert len(found) == len(ON_RANKS) and all(broken.name in each for each in found), found
