"""`cl config`: each key of the schema is told, with a meaning."""

from __future__ import annotations

import pytest

from cl.config.describe import describe
from cl.config.schema import RANGES
from cl.types import UserError


def test_each_key_has_a_meaning_and_its_range() -> None:
    keys = describe()
    assert [key.name for key in keys if not key.meaning] == []
    assert len({key.name for key in keys}) == len(keys) > 60
    told = {key.name: key.range for key in keys}
    assert all(any(name == key or name.startswith(f"{key}.") for name in told) for key in RANGES)
    assert told["network.dropout"] == "0 to 1" and told["training.batch_size"] == "1 up"
    assert told["network.scratch.heads"] == "1 up" and told["network.backbone"] == ""


def test_a_section_alone() -> None:
    assert [key.name for key in describe("run")] == ["run.dir", "run.overwrite", "run.checkpoint_steps", "run.keep"]
    assert next(key.name for key in describe("stream.toy")) == "stream.toy.domains"
    (seeds,) = describe("seeds")
    assert seeds.default == "[0]"
    keep = describe("training")[-1]
    assert (keep.name, keep.type, keep.default) == ("training.keep_best", "bool", "false")


def test_a_section_that_is_not_there() -> None:
    with pytest.raises(UserError, match=r"there is no section 'trainning'\. Did you mean 'training'\?"):
        describe("trainning")
