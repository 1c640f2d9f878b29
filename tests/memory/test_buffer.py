"""The buffer and its policies."""

from __future__ import annotations

import pytest
import torch

from cl.memory.buffer import Buffer
from cl.memory.policies import POLICIES, class_balanced, experience_balanced, reservoir


def fill(policy: str, portions: list[torch.Tensor], capacity: int, seed: int = 0) -> Buffer:
    buffer = Buffer(capacity)
    for e, groups in enumerate(portions):
        draw = torch.Generator().manual_seed(100 * seed + e)
        buffer.add(torch.arange(len(groups)) + 1000 * e, e, groups, POLICIES[policy], draw)
    return buffer


def test_reservoir_keeps_everyone_with_the_same_probability() -> None:
    """Three portions of very different sizes: 20 of 100 kept, 2,000 times."""
    kept = torch.zeros(3)
    sizes = (60, 10, 30)
    for seed in range(2000):
        buffer = fill("reservoir", [torch.zeros(n, dtype=torch.int64) for n in sizes], 20, seed)
        kept += torch.bincount(buffer.experience, minlength=3)
    share = kept / 2000 / torch.tensor(sizes)
    assert share.tolist() == pytest.approx([0.2] * 3, abs=0.01)


def test_class_balanced_gives_each_class_its_share() -> None:
    groups = torch.tensor([0] * 50 + [1] * 50 + [2] * 3)
    buffer = fill("class_balanced", [groups], 23)
    assert torch.bincount(buffer.groups).tolist() == [10, 10, 3]


def test_experience_balanced() -> None:
    buffer = fill("experience_balanced", [torch.zeros(n, dtype=torch.int64) for n in (50, 5, 50)], 25)
    assert torch.bincount(buffer.experience).tolist() == [10, 5, 10]


@pytest.mark.parametrize("policy", POLICIES)
def test_never_more_than_capacity_never_twice(policy: str) -> None:
    buffer = fill(policy, [torch.arange(7) % 3, torch.arange(40) % 5], 12)
    assert len(buffer) == 12
    assert len(set(buffer.rows.tolist())) == 12
    for seed in range(200):
        draw = torch.Generator().manual_seed(seed)
        assert len(buffer.draw(5, draw).unique()) == len(buffer.draw(5, draw)) == 5
        assert sorted(buffer.draw(50, draw).tolist()) == list(range(12))


def test_every_remembered_example_is_drawn_as_often() -> None:
    buffer = fill("reservoir", [torch.zeros(12, dtype=torch.int64)], 12)
    draw = torch.Generator().manual_seed(0)
    times = torch.bincount(torch.cat([buffer.draw(5, draw) for _ in range(2000)]), minlength=12)
    assert (times / 2000).tolist() == pytest.approx([5 / 12] * 12, abs=0.05)


def test_policies_on_written_out_keys() -> None:
    keys, groups = torch.tensor([0.1, 0.9, 0.8, 0.7]), torch.tensor([1, 0, 0, 0])
    experience = torch.tensor([0, 0, 1, 1])
    assert reservoir(keys, groups, experience).tolist() == [1, 2, 3, 0]
    assert class_balanced(keys, groups, experience).tolist() == [1, 0, 2, 3]
    assert experience_balanced(keys, groups, experience).tolist() == [1, 2, 3, 0]
