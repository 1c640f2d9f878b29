"""Resume is invisible: a run that is killed at any moment, and resumed each time, ends as one never killed."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from faults.processes import CONFIG, TWO_RANKS, essence, finish, newest, progress, ranks, start, wait_for_training
from filelock import FileLock
from runs import assert_same

pytestmark = pytest.mark.faults
MEMORIES = CONFIG | {"strategies": {"tested": {"der++": {"capacity": 20}, "agem": {"capacity": 20}}}}


@pytest.fixture(scope="module", params=[CONFIG, MEMORIES], ids=["ewc+lwf+replay", "der++ +agem"])
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A configuration to kill."""
    chosen: dict[str, Any] = request.param
    return chosen


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> Path:
    """The cell of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("never")
    (folder / "c.yaml").write_text(yaml.safe_dump(config))
    process = start(folder, "run", "c.yaml", "run.dir=r")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return folder / "r" / "tested" / "seed0"


def kill_and_resume(folder: Path, kills: int, rng: random.Random) -> None:
    """Kills the run `kills` times at random moments of training, evaluation or upkeep, then lets it finish."""
    for _ in range(kills):
        process = start(folder, *again(folder))
        before = progress(folder)
        while progress(folder) == before:  # importing takes most of the time: it is no moment worth killing at
            assert process.poll() is None, process.communicate()[0]
            time.sleep(0.01)
        time.sleep(rng.expovariate(1 / 0.3))
        assert process.poll() is None, "it finished before it could be killed: train for longer"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    process = start(folder, *again(folder))
    output, _ = process.communicate(timeout=250)
    assert process.returncode == 0, output


def again(folder: Path) -> tuple[str, ...]:
    return ("resume", "r") if (folder / "r" / "grid.yaml").exists() else ("run", "c.yaml", "run.dir=r")


@pytest.mark.parametrize("kills", [1, pytest.param(18, marks=[pytest.mark.slow, pytest.mark.timeout(1500)])])
def test_killed_at_random_moments(never_killed: Path, tmp_path: Path, config: dict[str, Any], kills: int) -> None:
    straight = never_killed
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    kill_and_resume(tmp_path, kills, random.Random(kills))
    resumed = tmp_path / "r" / "tested" / "seed0"
    assert_same(essence(newest(straight)), essence(newest(resumed)))
    assert (straight / "matrix.json").read_text() == (resumed / "matrix.json").read_text()
    assert (straight / "log.csv").read_text() == (resumed / "log.csv").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_asked_to_stop(never_killed: Path, tmp_path: Path, config: dict[str, Any], number: signal.Signals) -> None:
    """A checkpoint, exit code 130, a word on how to go on; and the same end."""
    straight = never_killed
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(config))
    process = start(tmp_path, "run", "c.yaml", "run.dir=r", "run.checkpoint_steps=1000")
    log = tmp_path / "r" / "tested" / "seed0" / "log.csv"
    deadline = time.monotonic() + 100
    while not (tmp_path / "r/tested/seed0/matrix.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "cl resume" in output
    assert log.exists()
    process = start(tmp_path, "resume", "r")
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    resumed = newest(tmp_path / "r" / "tested" / "seed0")
    assert_same(essence(newest(straight)), essence(resumed))


def test_a_torn_checkpoint_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from cl import checkpoint

    for step in range(4):
        checkpoint.save(tmp_path, 0, step, {"step": torch.tensor(step)})
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == checkpoint.KEPT
    kept[-1].write_bytes(kept[-1].read_bytes()[:-7])
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    assert state["step"] == 2
    assert "damaged" in caplog.text


def test_the_end_of_an_experience_is_newer_than_its_last_step(tmp_path: Path) -> None:
    """Both stand at the same number of steps, and digests sort by chance."""
    from cl import checkpoint

    for attempt in range(8):
        checkpoint.save(tmp_path, 0, 10, {"ended": False, "attempt": attempt})
        checkpoint.save(tmp_path, 1, 10, {"ended": True, "attempt": attempt})
        state = checkpoint.load_newest(tmp_path)
        assert state is not None
        assert state["ended"]


def test_no_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cl import checkpoint

    checkpoint.save(tmp_path, 0, 1, {"step": 1})

    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(checkpoint.NoSpace, match=r"needs .* MB"):
        checkpoint.save(tmp_path, 0, 2, {"step": 2})
    state = checkpoint.load_newest(tmp_path)
    assert state is not None
    assert state["step"] == 1
    assert len(list(tmp_path.iterdir())) == 1


def test_a_second_process_on_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(CONFIG))
    cell = tmp_path / "r" / "tested" / "seed0"
    cell.mkdir(parents=True)
    with FileLock(cell / ".lock"):
        process = start(tmp_path, "run", "c.yaml", "run.dir=r")
        output, _ = process.communicate(timeout=100)
    assert process.returncode == 2, output
    assert "another process is running this cell" in output


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["first rank", "second rank"])
def test_one_of_two_ranks_is_killed(tmp_path: Path, victim: str) -> None:
    """The other stops within a bounded time, and the run resumes to the same end."""
    two = CONFIG | {"trainer": CONFIG["trainer"] | {"devices": 2}}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(two))
    straight = start(tmp_path, "run", "c.yaml", "run.dir=s")
    output, _ = straight.communicate(timeout=280)
    assert straight.returncode == 0, output
    process = start(tmp_path, "run", "c.yaml", "run.dir=r")
    while progress(tmp_path) < 2000:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)
    children = subprocess.run(
        ["pgrep", "-g", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(process.pid if victim == "first rank" else max(int(c) for c in children), signal.SIGKILL)
    output, _ = process.communicate(timeout=90)  # ends when the pipe does: no rank is left behind
    assert process.returncode != 0
    resumed = start(tmp_path, "resume", "r")
    output, _ = resumed.communicate(timeout=280)
    assert resumed.returncode == 0, output
    assert_same(*(essence(newest(tmp_path / run / "tested" / "seed0")) for run in ("s", "r")))
