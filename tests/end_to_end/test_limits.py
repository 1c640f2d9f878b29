"""`trainer.max_time` and `trainer.callbacks` of a whole command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from end_to_end.test_run import assert_same_end, read

Run = Any
FIRST = "strategies={first: {ewc: {num_examples: 4}, replay: {capacity: 8, batch_size: 4}}}"
TWO_EXPERIENCES = ("stream.toy.types=0", "training.keep_best=true")
MINE = '''
from dataclasses import dataclass
from pathlib import Path

from lightning.pytorch import Callback

from cl.plugins.base import Plugin


@dataclass
class Slow(Plugin):
    """An experience of five hours."""

    def before_experience(self, tools, experience):
        clock = Path("clock")
        clock.write_text(str(float(clock.read_text()) + 5 * 3600))


@dataclass
class SlowEnd(Slow):
    """Five hours, and all of them after the last step."""

    def before_experience(self, tools, experience):
        pass

    def after_experience(self, tools, experience):
        super().before_experience(tools, experience)


class Counting(Callback):
    """Writes down each fit that it sees, and what it is."""

    def __init__(self):
        self.steps = 0

    def on_train_batch_end(self, trainer, learner, outputs, batch, batch_idx):
        self.steps += 1

    def on_train_end(self, trainer, learner):
        with open("counted", "a") as file:
            file.write(f"{learner.experience.index}:{self.steps} ")
'''


@pytest.fixture
def mine(folder: Path) -> Any:
    (folder / "mine.py").write_text(MINE)
    yield
    sys.modules.pop("mine", None)


def test_a_run_whose_time_is_over_goes_on_as_if_it_had_never_stopped(cl_command: Run, folder: Path) -> None:
    """A millisecond a command: each takes a step at least, and says how to go on."""
    options = (FIRST, "run.dir=out", *TWO_EXPERIENCES, "trainer.max_time={milliseconds: 1}")
    code, output = cl_command("run", "tiny.yaml", *options)
    assert code == 130 and output.rstrip().endswith("trainer.max_time is over; go on with: cl resume out")
    assert "Traceback" not in output
    cell = folder / "out" / "first" / "seed0"
    state = read(cell / "state.json")
    assert (state["name"], state["num_learnt"], state["reason"]) == ("interrupted", 0, "")
    assert read(cell / "metrics.json")["status"] == "interrupted"
    times = 1
    while cl_command("resume", "out")[0] == 130:
        times += 1
        assert times < 12, "it stops without a step"
    assert times >= 3, "two experiences of two steps: when the last is taken, all is learnt"
    assert read(cell / "state.json")["name"] == "finished"
    assert (folder / "out" / "report.html").exists()

    assert cl_command("run", "tiny.yaml", FIRST, "run.dir=never", *TWO_EXPERIENCES)[0] == 0
    assert_same_end(cell, folder / "never" / "first" / "seed0")


def test_the_time_is_that_of_the_command(
    cl_command: Run, folder: Path, mine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not of each experience: of three of five hours, the third one is cut at twelve; the next command has twelve."""
    (folder / "clock").write_text("1000")
    monkeypatch.setattr("cl.system.signals.time", SimpleNamespace(monotonic=lambda: float(Path("clock").read_text())))
    slow = "strategies={slow: {mine.Slow: {}}, then: {mine.Slow: {}}}"
    assert cl_command("run", "tiny.yaml", slow, "run.dir=out", "trainer.max_time='00:12:00:00'")[0] == 130
    states = {name: read(folder / "out" / name / "seed0" / "state.json") for name in ("slow", "then")}
    assert (states["slow"]["name"], states["slow"]["num_learnt"]) == ("interrupted", 2)
    assert states["then"]["name"] == "waiting"
    assert cl_command("resume", "out")[0] == 130  # the third takes no five hours again
    assert read(folder / "out" / "slow" / "seed0" / "state.json")["name"] == "finished"
    assert read(folder / "out" / "then" / "seed0" / "state.json")["num_learnt"] == 2


def test_a_time_that_is_over_when_all_is_learnt_interrupts_nothing(
    cl_command: Run, folder: Path, mine: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends with the third experience of the last cell: what is left is the report."""
    (folder / "clock").write_text("1000")
    monkeypatch.setattr("cl.system.signals.time", SimpleNamespace(monotonic=lambda: float(Path("clock").read_text())))
    slow = "strategies={slow: {mine.SlowEnd: {}}}"
    assert cl_command("run", "tiny.yaml", slow, "run.dir=out", "trainer.max_time='00:12:00:00'")[0] == 0
    assert read(folder / "out" / "slow" / "seed0" / "state.json")["name"] == "finished"
    assert (folder / "out" / "report.html").exists()


@pytest.mark.parametrize("value", ["'12:00:00'", "3600", "{hour: 1}"])
def test_a_time_that_is_none_is_refused_before_training(cl_command: Run, folder: Path, value: str) -> None:
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", f"trainer.max_time={value}")
    assert code == 2 and "trainer.max_time is" in output and "{hours: 12}" in output.replace("\n", " ")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("callbacks", ["[]", "null", "[mine.Counting]", "mine.Counting"])
def test_callbacks_join_ours(cl_command: Run, folder: Path, mine: None, callbacks: str) -> None:
    """The best epoch, patience and checkpoints stay; a class by its path is made anew for each experience."""
    (folder / "interrupted").write_text("3")
    fragile = "strategies={fragile: {fragile.Fragile: {experience: 1}}}"
    options = (fragile, "training.keep_best=true", "training.patience=1", "training.learning_rate=0.0",
               "trainer.max_epochs=9", f"trainer.callbacks={callbacks}")  # fmt: skip
    assert cl_command("run", "tiny.yaml", "run.dir=out", *options)[0] == 130
    cell = folder / "out" / "fragile" / "seed0"
    newest = torch.load(max((cell / "checkpoints").glob("*.pt")), weights_only=True)
    assert newest["learner"]["num_steps"] == 4, "in the middle of the second experience"
    (folder / "interrupted").unlink()
    assert cl_command("resume", "out")[0] == 0
    log = [line.split(",") for line in (cell / "log.csv").read_text().splitlines()]
    scored = [row[0] for row in log if row[3] == "valid/score"]
    assert scored == ["0", "0", "1", "1", "2", "2"], "nothing is learnt: patience ends the second epoch"
    if "Counting" in callbacks:
        assert (folder / "counted").read_text().split()[0] == "0:4"
        assert (folder / "counted").read_text().split()[2] == "2:4"


@pytest.mark.parametrize(
    ("callbacks", "why"), [("[nowhere.Callback]", "cannot import 'nowhere.Callback'"), ("[3]", "3 is no callback")]
)
def test_a_callback_that_is_none_is_refused(cl_command: Run, folder: Path, callbacks: str, why: str) -> None:
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", f"trainer.callbacks={callbacks}")
    assert code == 2 and "trainer.callbacks" in output and why in output.replace("\n", " ")
    assert not (folder / "out").exists()


@pytest.mark.parametrize("limit", ["trainer.limit_train_batches=1", "trainer.overfit_batches=1"])
def test_a_limited_run_goes_on_as_if_it_had_never_stopped(cl_command: Run, folder: Path, limit: str) -> None:
    options = ("strategies={fragile: {fragile.Fragile: {experience: 1}, ewc: {num_examples: 4}}}",
               "trainer.max_epochs=5", "training.schedule=linear", limit)  # fmt: skip
    (folder / "interrupted").write_text("2")
    assert cl_command("run", "tiny.yaml", "run.dir=out", *options)[0] == 130
    (folder / "interrupted").unlink()
    assert cl_command("resume", "out")[0] == 0
    assert cl_command("run", "tiny.yaml", "run.dir=never", *options)[0] == 0
    cell = folder / "out" / "fragile" / "seed0"
    assert_same_end(cell, folder / "never" / "fragile" / "seed0")
    assert [each["num_steps"] for each in json.loads((cell / "metrics.json").read_text())["cost"]] == [5, 5, 5]
