"""The list of mutants keeps up with the code: each can be made, and each names tests that are there."""

from __future__ import annotations

import ast
import re

import pytest
from mutants.run import ROOT, Mutant, mutants

MUTANTS = mutants()


def test_there_are_enough_of_them_under_names_of_their_own() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 80


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_it_changes_the_code_and_names_tests(mutant: Mutant) -> None:
    right = (ROOT / mutant.file).read_text(encoding="utf-8")
    assert ast.dump(ast.parse(mutant.apply(right))) != ast.dump(ast.parse(right))
    for test in mutant.tests:
        file, *names = test.split("::")
        text = (ROOT / "tests" / file).read_text(encoding="utf-8")
        assert all(re.search(rf"def {name}\(", text) for name in names), test


def test_a_snippet_that_is_gone_is_an_error_that_names_it() -> None:
    for text in ("x = 2", "x = 1; x = 1"):
        with pytest.raises(ValueError, match=r"off_by_one: 'x = 1' stands \d times in a\.py"):
            Mutant("off_by_one", "a.py", "x = 1", "x = 3", "x is wrong", ()).apply(text)
