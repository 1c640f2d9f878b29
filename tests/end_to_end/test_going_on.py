"""Going on with a run folder: nothing is lost between a checkpoint and a record, and no way on is closed."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import cl.runs.cell
import cl.runs.folder
import cl.runs.grid
from cl.cli import _as_it_began
from cl.config import load
from cl.evaluation.matrix import EvaluationMatrix
from cl.reporting.report import reporting_on
from cl.runs.cells import cells_of
from cl.runs.disk import is_behind
from cl.runs.folder import discard
from cl.runs.grid import run
from cl.runs.streams import build_stream
from cl.system import memory
from cl.system.state import State, state_of
from cl.types import UserError

Run = Any
FRAGILE = "strategies={fragile: {fragile.Fragile: {}}}"
BOTH = "strategies={fragile: {fragile.Fragile: {}}, second: {fragile.Fragile: {}}}"
ONE_AFTER_ANOTHER = "strategies={finetune: {}, fragile: {fragile.Fragile: {}}}"


@pytest.fixture
def interrupted(cl_command: Run, folder: Path) -> Path:
    """A run that was interrupted after the first step of its third experience, of four."""
    (folder / "interrupted").write_text("0")
    code, _ = cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE, "trainer.max_epochs=4")
    assert code == 130
    (folder / "interrupted").unlink()
    return folder / "out" / "fragile" / "seed0"


# ---------------------------------------------------------------------- between a checkpoint and a record


def test_a_cell_that_broke_off_before_its_matrix_was_written(
    cl_command: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the last checkpoint: the disk is full. What is resumed has nothing to learn, and all rows to write."""
    save = EvaluationMatrix.save

    def full(matrix: EvaluationMatrix, path: Path) -> None:
        if matrix.num_learnt == 3:
            raise OSError(28, "No space left on device")
        save(matrix, path)

    monkeypatch.setattr(EvaluationMatrix, "save", full)
    code, _ = cl_command("run", "tiny.yaml", "run.dir=out")
    assert code == 1
    cell = folder / "out" / "finetune" / "seed0"
    state = state_of(cell)
    assert state is not None and state.name != "finished"
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert cl_command("resume", "out")[0] == 0
    assert len(EvaluationMatrix.load(cell / "matrix.json").rows) == 3
    state = state_of(cell)
    assert state is not None and state.name == "finished"


def test_a_report_that_is_behind_is_written_again(cl_command: Run, folder: Path, interrupted: Path) -> None:
    report = folder / "out" / "report.html"
    with reporting_on(folder / "out"):
        State("interrupted", 2, 3).write(interrupted)  # it ends while the report is drawn
        report.write_text("old")
    assert is_behind(folder / "out")
    assert cl_command("resume", "out/fragile/seed0")[0] == 0  # of one cell: no comparison
    assert report.read_text() == "old"
    code, output = cl_command("resume", "out")
    assert code == 0 and "nothing to do" in output and "report: out/report.html" in output
    assert report.read_text() == "fragile"
    code, output = cl_command("resume", "out")
    assert code == 0 and "nothing to do" in output and "report:" not in output


def test_checkpoints_go_before_what_says_what_they_answer(
    cl_command: Run, folder: Path, interrupted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the order in which the file system lists them: a kill inside may leave a question, never an answer."""
    (cell,) = cells_of(load(folder / "tiny.yaml", ["run.dir=out", FRAGILE, "trainer.max_epochs=4"]))
    gone: list[str] = []
    unlink = Path.unlink

    def note(path: Path, missing_ok: bool = False) -> None:
        gone.append(str(path.relative_to(cell.folder)))
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", note)
    discard([cell])
    assert gone[0].startswith("checkpoints/") and gone[-2:] == ["state.json", "config.yaml"]
    assert not any(name.startswith("checkpoints/") for name in gone[5:])
    assert [path.name for path in cell.folder.iterdir()] == [".lock"]


# ------------------------------------------------------------------------------------- with other options


def test_other_options_are_noted_in_every_cell_at_once(cl_command: Run, folder: Path) -> None:
    """Interrupted again after the first of two, the second goes on as was asked, and both say what changed."""
    rate = "training.learning_rate=0.002"
    (folder / "interrupted").write_text("0")
    assert cl_command("run", "tiny.yaml", "run.dir=out", BOTH, "trainer.max_epochs=2")[0] == 130
    (folder / "interrupted").write_text("1")  # the first cell has this step behind it when it goes on
    code, output = cl_command("resume", "out", rate)
    assert code == 130
    (folder / "interrupted").unlink()
    assert cl_command("resume", "out")[0] == 0
    rates = {
        name: load(folder / "out" / name / "seed0" / "config.yaml").training.learning_rate
        for name in ("fragile", "second")
    }
    assert rates == {"fragile": 0.002, "second": 0.002}
    said = "fragile seed 0 goes on with another configuration than it began with: training.learning_rate: 0.01 → 0.002"
    assert said in output
    assert (folder / "out" / "fragile" / "seed0" / "warnings.txt").read_text().splitlines().count(said) == 1


def test_limits_and_what_is_only_said_may_change_beside_finished_cells(cl_command: Run, folder: Path) -> None:
    (folder / "interrupted").write_text("0")
    assert cl_command("run", "tiny.yaml", "run.dir=out", ONE_AFTER_ANOTHER)[0] == 130
    (folder / "interrupted").unlink()
    free = ("trainer.max_time={hours: 1}", "trainer.log_every_n_steps=2", "evaluate.batch_size=3")
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", ONE_AFTER_ANOTHER, *free)
    assert code == 0 and "another configuration" not in output


def test_a_remedy_can_be_taken_beside_finished_cells(cl_command: Run, folder: Path) -> None:
    """A lower rate for the cell that failed: the others stay, and it is said that the table compares them."""
    (folder / "broken").write_text("0")
    assert cl_command("run", "tiny.yaml", "run.dir=out", ONE_AFTER_ANOTHER)[0] == 1
    (folder / "broken").unlink()
    code, output = cl_command("resume", "out", "training.learning_rate=0.001")
    assert code == 0
    assert "out/finetune/seed0 is of another configuration (training.learning_rate: 0.01 → 0.001)" in output
    assert load(folder / "out" / "finetune" / "seed0" / "config.yaml").training.learning_rate == 0.01
    assert cl_command("run", "tiny.yaml", "run.dir=out", ONE_AFTER_ANOTHER, "training.learning_rate=0.1")[0] == 2


def test_choosing_by_epochs_may_begin_inside_an_experience(cl_command: Run, interrupted: Path) -> None:
    code, output = cl_command("resume", "out", "training.patience=2", "training.keep_best=true")
    assert code == 0 and "Traceback" not in output


def test_an_experience_that_is_longer_already_than_asked(cl_command: Run, folder: Path) -> None:
    (folder / "interrupted").write_text("5")
    assert cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE, "trainer.max_epochs=4")[0] == 130
    (folder / "interrupted").unlink()
    code, output = cl_command("resume", "out", "trainer.max_epochs=1")
    assert code == 2 and "Traceback" not in output
    least = output.rpartition("trainer.max_epochs=")[2].partition(",")[0]
    assert "has taken 6 steps already" in output
    assert "could not go on with these options, and keeps those it had" in output
    assert load(folder / "out" / "fragile" / "seed0" / "config.yaml").trainer["max_epochs"] == 4
    assert cl_command("resume", "out", f"trainer.max_epochs={least}")[0] == 0


def test_a_cell_that_cannot_go_on_so_does_not_stop_others(cl_command: Run, folder: Path) -> None:
    """And of one that had not begun it is said that it was asked for with other options."""
    (folder / "interrupted").write_text("5")
    assert cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE, "trainer.max_epochs=4", "seeds=[0, 1]")[0] == 130
    (folder / "interrupted").unlink()
    code, output = cl_command("resume", "out", "trainer.max_epochs=1")
    assert code == 1 and "fragile seed 0 failed: experience 2" in output and "Traceback" not in output
    states = {seed: state_of(folder / "out" / "fragile" / f"seed{seed}") for seed in (0, 1)}
    assert [state.name for state in states.values() if state] == ["failed", "finished"]
    said = "fragile seed 1 goes on with another configuration than it was asked for with: trainer.max_epochs: 4 → 1"
    assert said in (folder / "out" / "fragile" / "seed1" / "warnings.txt").read_text()


# -------------------------------------------------------------------------------------- what is no way on


@pytest.mark.parametrize("override", ["seeds=[0,1]", "strategies={a: {}}", "run.overwrite=true", "run.dir=there"])
def test_overrides_that_ask_for_other_cells(cl_command: Run, interrupted: Path, override: str) -> None:
    code, output = cl_command("resume", "out", override)
    assert code == 2
    assert f"{override}: cl resume goes on with the cells that are in out" in output


def test_a_choice_of_no_cell(cl_command: Run, folder: Path) -> None:
    assert cl_command("run", "tiny.yaml", "run.dir=out", "strategies={a: {}}", "seeds=[1]")[0] == 0
    assert cl_command("run", "tiny.yaml", "run.dir=out", "strategies={b: {}}")[0] == 0
    code, output = cl_command("resume", "out", "--only", "a", "--seed", "0")
    assert code == 2 and "--only a --seed 0: there is no such cell, only b seed 0, a seed 1" in output


def test_cells_that_nothing_came_of_are_no_obstacle(
    cl_command: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk was full before a word was written: a message, and the same command works once there is room."""

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(cl.runs.folder, "write_text", full)
        code, output = cl_command("run", "tiny.yaml", "run.dir=out")
        assert code == 2 and "cannot write there: No space left on device" in output
    assert (folder / "out" / "finetune" / "seed0").is_dir()
    assert cl_command("run", "tiny.yaml", "run.dir=out")[0] == 0
    (folder / "hidden" / ".git").mkdir(parents=True)
    (folder / "hidden" / ".git" / "HEAD").write_text("")
    assert cl_command("run", "tiny.yaml", "run.dir=hidden")[0] == 0
    (folder / "mine").mkdir()
    (folder / "mine" / "thesis.tex").write_text("")
    code, output = cl_command("run", "tiny.yaml", "run.dir=mine")
    assert code == 2 and "mine holds something that is no run (thesis.tex)" in output


def test_a_waiting_cell_knows_where_it_was_asked_for(
    cl_command: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cl.runs.cell, "build_learner", killed)
        assert cl_command("run", "tiny.yaml", "run.dir=out")[0] == 130
    state = state_of(folder / "out" / "finetune" / "seed0")
    assert state == State("waiting", started_in=str(folder))


def test_other_ranks_are_started_with_the_same_command(
    cl_command: Run, interrupted: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From another folder: with the choice of cells, and with the program by a path that holds there."""
    (folder / "sub").mkdir()
    monkeypatch.chdir(folder / "sub")
    (folder / "program").write_text("")
    chosen = ["trainer.devices=2", "--only", "fragile", "--seed", "0"]
    monkeypatch.setattr(sys, "argv", ["../program", "resume", "../out", *chosen])
    assert _as_it_began(Path("../out"), chosen) == folder / "out"
    assert Path.cwd() == folder
    assert Path(sys.argv[0]).samefile(folder / "program") and Path(sys.argv[0]).is_absolute()
    assert sys.argv[1:] == ["resume", str(folder / "out"), *chosen]
    monkeypatch.chdir(folder / "sub")
    monkeypatch.setattr(cl.runs.grid, "resume", lambda *args, **choice: None)
    assert cl_command("resume", "../out", *chosen)[0] == 0
    assert sys.argv[1:] == ["resume", str(folder / "out"), *chosen]


def test_a_stream_made_in_python_is_not_replaced_in_silence(folder: Path) -> None:
    config = load(folder / "tiny.yaml", ["run.dir=out", BOTH, "trainer.devices=2"])
    with pytest.raises(UserError, match="a stream made in Python cannot be handed to several processes"):
        run(config, stream=build_stream(config.stream))
    assert not (folder / "out" / "fragile").exists()


# ----------------------------------------------------------------------------- folders of somebody else's


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may write everywhere")
def test_somebody_elses_folder_can_be_looked_at(cl_command: Run, interrupted: Path) -> None:
    for path in (interrupted, *interrupted.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    assert cl_command("status", "out")[0] == 0
    code, output = cl_command("resume", "out")
    assert code == 2 and "cannot write" in output


def test_looking_takes_no_lock_and_leaves_no_file(folder: Path) -> None:
    State("running", 1, 3).write(folder / "cell")
    assert state_of(folder / "cell") == State("killed", 1, 3)
    assert [path.name for path in (folder / "cell").iterdir()] == ["state.json"]


def test_a_report_where_no_folder_can_be(cl_command: Run, interrupted: Path, folder: Path) -> None:
    (folder / "file").write_text("")
    code, output = cl_command("report", "out", "--out", "file")
    assert code == 2 and "the report cannot be written to file" in output and "--out" in output


def test_checkpoints_on_another_disk(cl_command: Run, folder: Path) -> None:
    assert cl_command("run", "tiny.yaml", "run.dir=out")[0] == 0
    kept = folder / "out" / "finetune" / "seed0" / "checkpoints"
    shutil.move(kept, folder / "large")
    kept.symlink_to(folder / "large")
    size = sum(path.stat().st_size for path in (folder / "large").iterdir())
    assert size > 0
    assert "0 bytes" not in cl_command("clean", "out")[1]
    assert not list((folder / "large").iterdir()) and kept.is_symlink()
    assert "0 bytes freed" in cl_command("clean", "out")[1]
    assert cl_command("run", "tiny.yaml", "run.dir=out", "run.overwrite=true")[0] == 0
    assert list((folder / "large").iterdir())


# ------------------------------------------------------------------------------------------------- memory


@pytest.mark.skipif(not memory._can_be_reset(), reason="this system tells of a process's whole life only")
def test_peak_memory_is_that_of_the_experience() -> None:
    """Not of one before it, be it in another cell."""
    memory.reset_peak()
    before = memory.peak()
    block = bytearray(300 * 2**20)
    assert before is not None and (memory.peak() or 0) > before + 250 * 2**20
    del block
    memory.reset_peak()
    assert (memory.peak() or 0) < before + 100 * 2**20
