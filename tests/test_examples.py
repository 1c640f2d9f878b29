"""The examples in docstrings give what they say."""

from __future__ import annotations

import doctest
from importlib import import_module

import pytest


@pytest.mark.parametrize(
    "name", ["cl.evaluation.metrics", "cl.evaluation.scores", "cl.data.sampler", "cl.plugins.maths.quadratic"]
)
def test_examples(name: str) -> None:
    found = doctest.testmod(import_module(name))
    assert found.attempted and not found.failed
