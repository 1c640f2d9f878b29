"""Faults around a run: what is refused, what survives, and what may change when a run goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from filelock import FileLock

import cl.runs.grid
from cl.testing.tiny import assert_same
from cl.training import checkpoint

Run = Any
FRAGILE = "strategies={fragile: {fragile.Fragile: {experience: 1}, ewc: {num_examples: 4}}}"
EXACT = ("trainer.precision=64-true", FRAGILE, "training.batch_size=4")
LIMITED = '''
import resource
from dataclasses import dataclass
from cl.plugins.base import Plugin


@dataclass
class Limited(Plugin):
    """From experience 1 on a file may have so many bytes only."""

    size: int = 20000

    def before_experience(self, tools, experience):
        if experience.index == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))
'''


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def weights(cell: Path) -> Any:
    state = torch.load(max((cell / "checkpoints").glob("*.pt")), weights_only=True)
    return {name: state["learner"][name] for name in ("network", "plugins")}


def test_no_space_for_a_checkpoint(cl_command: Run, folder: Path) -> None:
    import resource

    (folder / "limited.py").write_text(LIMITED)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        code, output = cl_command("run", "tiny.yaml", "run.dir=out", "strategies={l: {limited.Limited: {}}}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 1
    assert "failed: l seed 0 (NoSpace: " in output
    assert (
        " a checkpoint needs about 0." in output
        and "the one before is whole. Make room, then resume" in output.replace("\n", "")
    )
    cell = folder / "out" / "l" / "seed0"
    assert read(cell / "metrics.json")["status"] == "failed"
    state = checkpoint.load_newest(cell / "checkpoints")
    assert state is not None
    assert len(json.loads(state["matrix"])["scores"]["score"]) == 1

    (folder / "limited.py").write_text(LIMITED.replace("== 1", "== -1"))
    import sys

    sys.modules.pop("limited")
    assert cl_command("resume", "out")[0] == 0
    assert len(read(cell / "matrix.json")["scores"]["score"]) == 3
    sys.modules.pop("limited")


def test_a_second_process_on_a_folder_is_refused(cl_command: Run, folder: Path) -> None:
    cell = folder / "out" / "finetune" / "seed0"
    cell.mkdir(parents=True)
    (cell / "config.yaml").write_text((folder / "tiny.yaml").read_text())
    with FileLock(cell / ".lock"):
        code, output = cl_command("run", "tiny.yaml", "run.dir=out")
    assert code == 2
    assert "another process is running this cell" in output
    with FileLock(cell / ".lock"):
        code, output = cl_command("run", "tiny.yaml", "run.dir=out", "run.overwrite=true")
    assert code == 2
    assert "another process is running this cell: stop it before overwriting it" in output
    assert (cell / "config.yaml").exists()


def test_foreign_and_read_only_folders(cl_command: Run, folder: Path) -> None:
    (folder / "thesis").mkdir()
    (folder / "thesis" / "chapter.tex").write_text("precious")
    for more in ((), ("run.overwrite=true",)):
        code, output = cl_command("run", "tiny.yaml", "run.dir=thesis", *more)
        assert code == 2
        assert "run.dir: thesis holds something that is no run (chapter.tex)" in output
    assert [path.name for path in (folder / "thesis").iterdir()] == ["chapter.tex"]

    code, output = cl_command("run", "tiny.yaml", "run.dir=/proc/self")  # not even root writes here
    assert code == 2
    assert "run.dir: cannot write to /proc/self" in output

    assert cl_command("run", "tiny.yaml", "run.dir=out")[0] == 0
    (folder / "out" / "other").write_text("a file in a folder's place")
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", "strategies={other: {}}")
    assert code == 2
    assert "cannot write there: " in output
    assert "Traceback" not in output


def test_overwriting_starts_anew_though_the_old_is_not_deleted_yet(
    cl_command: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another rank sees it that was started beside rank 0 and came first."""
    assert cl_command("run", "tiny.yaml")[0] == 0
    monkeypatch.setattr(cl.runs.grid, "discard", lambda cells: [])
    monkeypatch.setattr(cl.runs.grid, "is_finished", lambda cell: False)
    code, output = cl_command("run", "tiny.yaml", "run.overwrite=true")
    assert code == 0
    assert "learnt 1/3" in output


def test_other_shares_of_a_batch_from_an_experiences_start(cl_command: Run, folder: Path) -> None:
    (folder / "broken").write_text("0")
    assert cl_command("run", "tiny.yaml", "run.dir=out", *EXACT)[0] == 1
    (folder / "broken").unlink()
    code, output = cl_command("resume", "out", "trainer.accumulate_grad_batches=2")
    assert code == 0
    assert "goes on with another" not in output and "shares a batch" not in output
    cell = folder / "out" / "fragile" / "seed0"
    assert yaml.safe_load((cell / "config.yaml").read_text())["trainer"]["accumulate_grad_batches"] == 2
    assert cl_command("run", "tiny.yaml", "run.dir=straight", *EXACT)[0] == 0
    assert_same(weights(folder / "straight" / "fragile" / "seed0"), weights(cell), 1e-6)


def test_other_shares_inside_an_experience_are_told(cl_command: Run, folder: Path) -> None:
    (folder / "broken").write_text("2")
    assert cl_command("run", "tiny.yaml", "run.dir=out", "run.checkpoint_steps=1", *EXACT)[0] == 1
    (folder / "broken").unlink()
    code, output = cl_command("resume", "out", "trainer.accumulate_grad_batches=2")
    assert code == 0
    assert "goes on inside an experience with 2 shares a batch where it had 1" in " ".join(output.split())


def test_going_on_with_other_options(cl_command: Run, folder: Path) -> None:
    """Refused by name unless told, and then told by name; never of a stream, or of what is finished."""
    (folder / "broken").write_text("0")
    assert cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE)[0] == 1
    (folder / "broken").unlink()
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE, "training.learning_rate=0.02")
    assert code == 2
    assert "(training.learning_rate differ)" in output
    code, output = cl_command("resume", "out", "stream.seed=3")
    assert code == 2
    assert "(stream.seed differ)" in output
    code, output = cl_command("resume", "out", "training.learning_rate=0.02")
    assert code == 0
    assert "goes on with another configuration than it began with: training.learning_rate: 0.01 → 0.02" in output
    code, output = cl_command("resume", "out", "training.learning_rate=0.03")
    assert code == 2
    assert "nothing to do" in cl_command("resume", "out")[1]
