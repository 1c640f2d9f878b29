"""What every strategy promises. Being listed in PLUGINS is being tested here."""

from __future__ import annotations

from itertools import combinations

import pytest

from cl.plugins import PLUGINS
from cl.testing import PROMISES, Subject
from cl.testing.composition import COMPOSED, composes, distinct, kind_of
from cl.testing.proof import ON_RANKS, prove_on_ranks
from cl.testing.tiny import prepared

ALL_PAIRS = list(combinations(PLUGINS, 2))
DISTINCT = distinct(PLUGINS)
# One plugin of each kind meets one of every other where both kinds of experiences come; plugins of one kind meet on
# sentences, where most of them differ. All pairs meet on every stream in the slow tier.
SAMPLED = {
    "mixed": [pair for pair in ALL_PAIRS if set(pair) <= set(DISTINCT)],
    "token": [pair for pair in ALL_PAIRS if kind_of(pair[0]) == kind_of(pair[1])],
}
PAIRS = [(pair, stream, pair in SAMPLED[stream]) for stream in COMPOSED for pair in ALL_PAIRS]
CASES = [(p, stream) for p, (_, streams) in PROMISES.items() if p != "it_composes_or_is_refused" for stream in streams]


@pytest.mark.parametrize(("promise", "stream"), CASES)
@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.xdist_group(name)) for name in PLUGINS])
def test_promise(name: str, promise: str, stream: str) -> None:
    PROMISES[promise][0](Subject.listed(name), stream)


@pytest.mark.parametrize(
    ("pair", "stream"),
    [
        pytest.param(pair, stream, id=f"{'+'.join(pair)}-{stream}", marks=[] if sampled else pytest.mark.slow)
        for pair, stream, sampled in PAIRS
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
