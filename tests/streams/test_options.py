"""Options that a scenario does not read are refused, whichever the two are."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from cl.config import StreamConfig, ToyConfig
from cl.runs.streams import ALWAYS, PROTOCOLS, READS, SCENARIOS, refuse_unread
from cl.types import UserError

SET: dict[str, Any] = {
    "corpora": [{"name": "a"}],
    "defaults": {"kind": "token"},
    "root": "data",
    "classes_per_experience": 2,
    "class_order": ["a"],
    "order": ["a"],
    "limit": {"train": 3},
    "hold_out": {"valid": 0.3},
    "drop_overlap": True,
    "seed": 3,
    "toy": ToyConfig(domains=1),
}
SCENARIO_NAMES = [*SCENARIOS, *PROTOCOLS, "my.function"]


def test_every_option_and_every_scenario_is_in_the_table() -> None:
    options = {f.name for f in fields(StreamConfig)}
    assert set(SET) | {"scenario"} == options
    assert set(READS) == set(SCENARIOS | PROTOCOLS)
    assert set().union(ALWAYS, *READS.values()) == options


@pytest.mark.parametrize("option", SET)
@pytest.mark.parametrize("scenario", SCENARIO_NAMES)
def test_what_is_not_read_is_refused(scenario: str, option: str) -> None:
    config = StreamConfig(scenario=scenario, **{option: SET[option]})
    if option in ALWAYS | READS.get(scenario, frozenset()):
        refuse_unread(config)
        return
    with pytest.raises(
        UserError, match=f"stream.{option}: the scenario {scenario} does not read it, it is for .*: remove it"
    ):
        refuse_unread(config)


def test_all_of_them_are_told_at_once() -> None:
    config = StreamConfig(scenario="my.function", drop_overlap=True, hold_out={"valid": 0.3}, corpora=[{"name": "a"}])
    with pytest.raises(UserError) as caught:
        refuse_unread(config)
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "stream.corpora",
        "stream.hold_out",
        "stream.drop_overlap",
    ]
