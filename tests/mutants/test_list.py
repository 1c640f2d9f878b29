"""The list of mutants keeps up with the code: each can be made, and each names tests that are there."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest


def runner() -> ModuleType:
    """`run.py` beside this file."""
    spec = importlib.util.spec_from_file_location("mutants_run", Path(__file__).with_name("run.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["mutants_run"] = module
    spec.loader.exec_module(module)
    return module


RUN = runner()
MUTANTS = RUN.mutants()


def test_there_are_enough_of_them_under_names_of_their_own() -> None:
    assert len(MUTANTS) >= 80
    assert not [name for name, count in Counter(mutant.name for mutant in MUTANTS).items() if count > 1]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_changes_the_code_and_names_tests(mutant: RUN.Mutant) -> None:  # type: ignore[name-defined]
    right = (RUN.ROOT / mutant.file).read_text(encoding="utf-8")
    wrong = mutant.apply(right)
    assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(right))
    for test in mutant.tests:
        file, *names = test.split("::")
        text = (RUN.ROOT / "tests" / file).read_text(encoding="utf-8")
        assert all(re.search(rf"def {name.partition('[')[0]}\(", text) for name in names), test
