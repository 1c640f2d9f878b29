"""What is printed where no terminal is."""

from __future__ import annotations

import pytest

from cl.system.printing import WIDTH, console_for, say


def test_tables_in_a_file_are_not_cut_at_eighty_columns(capsys: pytest.CaptureFixture[str]) -> None:
    console = console_for()
    assert console.width == WIDTH > 150 and not console.is_terminal
    say(console, "[red]" + "x" * 300)
    assert capsys.readouterr().out == "[red]" + "x" * 300 + "\n"
    assert console_for(quiet=True).quiet
