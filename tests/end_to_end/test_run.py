"""`cl run` and `cl resume`: a grid on disk, cell by cell, whatever happens on the way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import cl.runs.grid
from cl.reporting.report import write_report
from cl.testing.tiny import assert_same
from cl.training.learner import Learner

GRID = "strategies={finetune: {}, remember: {replay: {capacity: 8, batch_size: 4}}}"
FRAGILE = "strategies={fragile: {fragile.Fragile: {}, ewc: {num_examples: 4}}, finetune: {}}"
Run = Any


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def end_of(cell: Path) -> tuple[Any, Any, Any]:
    """What must not depend on how a run got there: weights and plugins, matrix, and the log but for its clock."""
    newest = max((cell / "checkpoints").glob("*.pt"))
    learner = torch.load(newest, weights_only=True)["learner"]
    del learner["cost"]
    return learner, read(cell / "matrix.json"), (cell / "log.csv").read_text()


def assert_same_end(a: Path, b: Path) -> None:
    for left, right in zip(end_of(a), end_of(b), strict=True):
        assert_same(left, right)


def test_what_a_cell_leaves(cl_command: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cl.runs.grid, "write_report", write_report)
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", "evaluate.initial=true")
    assert code == 0
    cell = folder / "out" / "finetune" / "seed0"
    names = {path.name for path in cell.iterdir() if not path.name.startswith(".")}
    assert names == {
        "checkpoints", "config.yaml", "data.json", "environment.json", "log.csv", "matrix.json", "metrics.json",
        "model.json", "state.json", "tokenizer.json", "warnings.txt",
    }  # fmt: skip
    assert len(list((cell / "checkpoints").glob("*.pt"))) == 1  # the final one
    assert (folder / "out" / "report.html").exists()
    assert list((folder / "out" / "figures").glob("*.svg"))
    assert "Average score" in output
    assert read(cell / "metrics.json")["status"] == "finished"
    assert yaml.safe_load((cell / "config.yaml").read_text())["training"]["batch_size"] == 8
    assert read(cell / "environment.json")["seed"] == 0
    assert (cell / "log.csv").read_text().startswith("experience,epoch,step,name,value\n0,0,1,loss/labels,")

    code, output = cl_command("report", "out", "--out", "elsewhere")
    assert code == 0
    assert (folder / "elsewhere" / "report.html").exists()


def test_a_grid(cl_command: Run, folder: Path) -> None:
    code, output = cl_command("run", "tiny.yaml", "seeds=[0, 3]", GRID)
    assert code == 0
    cells = sorted(str(path.parent.relative_to(folder / "runs" / "tiny")) for path in folder.glob("**/metrics.json"))
    assert cells == ["finetune/seed0", "finetune/seed3", "remember/seed0", "remember/seed3"]
    assert output.index("finetune seed 0") < output.index("remember seed 0") < output.index("finetune seed 3")
    assert (folder / "runs" / "tiny" / "report.html").read_text().split() == ["finetune"] * 2 + ["remember"] * 2

    # Finished cells are skipped; a new one joins them.
    stamps = {path: path.stat().st_mtime_ns for path in folder.glob("**/matrix.json")}
    assert "nothing to do" in cl_command("run", "tiny.yaml", "seeds=[0, 3]", GRID)[1]
    assert "nothing to do" in cl_command("resume", "runs/tiny")[1]
    code, output = cl_command("run", "tiny.yaml", "seeds=[0, 3]", GRID, "strategies.third={}")
    assert code == 0
    assert "finetune seed 0" not in output
    assert len(list(folder.glob("**/matrix.json"))) == 6
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in stamps.items())

    # The configuration of a cell is complete: it gives the same run again.
    first = folder / "runs" / "tiny" / "remember" / "seed3"
    assert cl_command("run", str(first / "config.yaml"), "run.dir=again")[0] == 0
    assert_same_end(first, folder / "again" / "remember" / "seed3")


def test_a_failure_leaves_what_was_learnt_and_the_others_go_on(cl_command: Run, folder: Path) -> None:
    (folder / "broken").write_text("1")
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE)
    assert code == 1
    why = "PluginError: plugin 'fragile.Fragile' failed in on_batch: RuntimeError: the disk is on fire"
    assert output.rstrip().endswith(f"error: failed: fragile seed 0 ({why}). Fix the cause, then: cl resume out")
    cell = folder / "out" / "fragile" / "seed0"
    metrics = read(cell / "metrics.json")
    assert metrics["status"] == "failed"
    assert [len(row) for row in read(cell / "matrix.json")["scores"]["score"]] == [3, 3]  # of experiences 0 and 1
    assert list(metrics["metrics"])
    assert read(folder / "out" / "finetune" / "seed0" / "metrics.json")["status"] == "finished"
    assert (folder / "out" / "report.html").exists()

    code, output = cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE)
    assert code == 1  # tried again, in vain
    assert read(cell / "state.json")["reason"].startswith("PluginError: plugin 'fragile.Fragile' failed")

    (folder / "broken").unlink()
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE)
    assert code == 0
    assert "learnt 1/3" not in output
    assert "learnt 3/3" in output
    assert cl_command("run", "tiny.yaml", "run.dir=never", FRAGILE)[0] == 0
    assert_same_end(cell, folder / "never" / "fragile" / "seed0")
    costs = [read(folder / run / "fragile" / "seed0" / "metrics.json")["cost"] for run in ("out", "never")]
    for cost in costs:
        assert [each["experience"] for each in cost] == [0, 1, 2]
        assert all(each["train_seconds"] > 0 and each["evaluate_seconds"] > 0 for each in cost)
    assert [each["num_steps"] for each in costs[0]] == [each["num_steps"] for each in costs[1]]
    assert costs[0][2]["stored_bytes"] == costs[1][2]["stored_bytes"] > 0


def test_the_best_epoch_outlives_an_interrupt(cl_command: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each epoch is worse than the one before: the first is kept, and two later ones are all that patience bears."""
    evaluate = Learner.evaluate

    def falling(self: Learner, split: Any, *which: Any, **options: Any) -> Any:
        row, pooled = evaluate(self, split, *which, **options)
        if split == "valid":
            now = self.experience.index
            row = (*row[:now], {"score": 1 / (1 + self.epoch)}, *row[now + 1 :])
        return row, pooled

    monkeypatch.setattr(Learner, "evaluate", falling)
    options = (FRAGILE, "training.keep_best=true", "training.patience=2", "trainer.max_epochs=6")
    (folder / "interrupted").write_text("3")  # in the second epoch of two steps
    assert cl_command("run", "tiny.yaml", "run.dir=out", *options)[0] == 130
    (folder / "interrupted").unlink()
    assert cl_command("resume", "out")[0] == 0
    assert cl_command("run", "tiny.yaml", "run.dir=never", *options)[0] == 0
    assert_same_end(folder / "out" / "fragile" / "seed0", folder / "never" / "fragile" / "seed0")
    log = (folder / "out" / "fragile" / "seed0" / "log.csv").read_text().splitlines()
    scores = [float(line.rpartition(",")[2]) for line in log if ",valid/score," in line]
    assert scores == pytest.approx(3 * [1, 1 / 2, 1 / 3])


@pytest.mark.parametrize("step", [0, 1])
def test_an_interrupt(cl_command: Run, folder: Path, step: int) -> None:
    """In mid-experience, and in the last step of all, after which nothing of this cell is left to do."""
    (folder / "interrupted").write_text(str(step))
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE)
    assert code == 130
    assert output.rstrip().endswith("interrupted; go on with: cl resume out")
    assert "Traceback" not in output
    cell = folder / "out" / "fragile" / "seed0"
    assert read(cell / "state.json")["name"] == ("finished" if step else "interrupted")
    other = folder / "out" / "finetune" / "seed0" / "state.json"
    assert read(other)["name"] == "waiting"

    (folder / "interrupted").unlink()
    code, output = cl_command("resume", str(cell))  # this cell alone
    assert code == 0, output
    assert read(other)["name"] == "waiting"
    assert cl_command("resume", "out")[0] == 0  # the whole grid
    assert cl_command("run", "tiny.yaml", "run.dir=never", FRAGILE)[0] == 0
    for name in ("fragile", "finetune"):
        assert_same_end(folder / "out" / name / "seed0", folder / "never" / name / "seed0")


def test_a_run_that_exists_is_not_overwritten_unless_told(cl_command: Run, folder: Path) -> None:
    assert cl_command("run", "tiny.yaml")[0] == 0
    matrix = folder / "runs" / "tiny" / "finetune" / "seed0" / "matrix.json"
    before = matrix.read_text()

    code, output = cl_command("run", "tiny.yaml", "training.batch_size=4")
    assert code == 2
    assert "holds a run with another configuration (training.batch_size differ)" in output
    # Nor would one table compare two questions.
    code, output = cl_command("run", "tiny.yaml", "training.batch_size=4", "strategies={other: {}}")
    assert code == 2
    assert "(training.batch_size differ): choose another run.dir, or delete it" in output
    # What cannot start discards nothing.
    code, output = cl_command("run", "tiny.yaml", "run.overwrite=true", "stream.order=[nowhere]")
    assert code == 2
    assert matrix.read_text() == before

    code, output = cl_command("run", "tiny.yaml", "training.learning_rate=0.02", "run.overwrite=true")
    assert code == 0
    assert "learnt 3/3" in output
    written = yaml.safe_load((matrix.parent / "config.yaml").read_text())
    assert written["run"]["overwrite"] is False  # a run from this file would discard this one


def test_a_run_may_be_moved_and_be_older_than_an_option(cl_command: Run, folder: Path) -> None:
    (folder / "broken").write_text("1")
    assert cl_command("run", "tiny.yaml", FRAGILE, "run.dir=out")[0] == 1
    config = folder / "out" / "fragile" / "seed0" / "config.yaml"
    config.write_text(config.read_text().replace("  warmup: 0.0\n", ""))
    (folder / "out").rename(folder / "moved: [here]")
    (folder / "broken").unlink()
    assert cl_command("resume", "moved: [here]")[0] == 0
    assert not (folder / "out").exists()


def test_a_missing_report_is_written(cl_command: Run, folder: Path) -> None:
    assert cl_command("run", "tiny.yaml", "run.dir=out")[0] == 0
    (folder / "out" / "report.html").unlink()
    assert cl_command("resume", "out")[0] == 0
    assert (folder / "out" / "report.html").exists()


@pytest.mark.parametrize("arguments", [("run", "missing.yaml"), ("resume", "missing"), ("report", "missing")])
def test_what_is_not_there(cl_command: Run, arguments: tuple[str, ...]) -> None:
    code, output = cl_command(*arguments)
    assert code == 2
    assert output.startswith("error: missing")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run",), "Missing argument"),
        (("run", "tiny.yaml", "--fast"), "No such option"),
        (("walk",), "No such command"),
        (("run", "tiny.yaml", "run.dir=tiny.yaml"), "run.dir: cannot write to tiny.yaml"),
    ],
)
def test_wrong_command_lines(cl_command: Run, arguments: tuple[str, ...], said: str) -> None:
    code, output = cl_command(*arguments)
    assert code == 2
    assert said in output
    assert "Traceback" not in output


def test_lists(cl_command: Run) -> None:
    code, output = cl_command("plugins")
    assert code == 0
    assert all(name in output for name in ("finetune", "ewc", "lwf", "replay", "joint"))
    code, output = cl_command("streams")
    assert code == 0
    assert all(name in output for name in ("toy", "domain", "class", "task", "columns", "jsonl", "datasets"))
    code, output = cl_command("streams", "columns")
    assert code == 0
    assert all(option in output for option in (*map(" {} ".format, ("token", "scheme", "encoding")), "iobes"))
    assert "new names of the labels" in output and "format: columns, tag: 3, train: train.conll" in output
    code, output = cl_command("streams", "class")
    assert "stream: {scenario: class, classes_per_experience: [4, 2]" in output
    assert code == 0 and "stream.class_order" in output and "stream.toy" not in output
    code, output = cl_command("streams", "colums")
    assert code == 2 and "no scenario, protocol or format 'colums'. Did you mean 'columns'?" in output
