"""A run may go on with another number of ranks: from an experience's start it makes no difference."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults.processes import CONFIG, cell, configure, essence, finish, newest, start

from cl.testing.tiny import assert_same

pytestmark = [pytest.mark.faults, pytest.mark.slow]
STOP = '''
from dataclasses import dataclass
from pathlib import Path
from cl.plugins.base import Plugin


@dataclass
class Stop(Plugin):
    """Fails at the start of experience 1, once."""

    def before_experience(self, tools, experience):
        if experience.index == 1 and not Path("failed").exists():
            Path("failed").touch()
            raise RuntimeError("once")
'''


def test_one_rank_then_two(tmp_path: Path) -> None:
    (tmp_path / "stop.py").write_text(STOP)
    plugins = {"stop.Stop": {}, **CONFIG["strategies"]["tested"]}
    exact = {"precision": "64-true", "max_epochs": 2}
    options = {"strategies": {"tested": plugins}, "trainer": exact, "network": {"dropout": 0.0}}
    configure(tmp_path, CONFIG, **options)
    process = start(tmp_path, "run", "c.yaml", "run.dir=r")
    output, _ = process.communicate(timeout=100)
    assert process.returncode == 1 and "once" in output
    output = finish(tmp_path, "resume", "r", "trainer.devices=2")
    assert "warning" not in output
    finish(tmp_path, "run", "c.yaml", "run.dir=straight")
    one, two = (essence(newest(cell(tmp_path, run)))["learner"] for run in ("straight", "r"))
    assert_same(one, two, 1e-6)
