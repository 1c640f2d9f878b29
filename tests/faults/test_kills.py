"""Resume is invisible: a run that is killed at any moment, and resumed each time, ends as one never killed."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from faults.processes import (
    CONFIG,
    TWO_RANKS,
    cell,
    configure,
    essence,
    finish,
    newest,
    progress,
    ranks,
    start,
    wait_for_training,
)

from cl.testing.tiny import assert_same

pytestmark = pytest.mark.faults
MEMORIES = CONFIG | {"strategies": {"tested": {"der++": {"capacity": 20}, "agem": {"capacity": 20}}}}
# In a checkpoint's write, before its sync, after its sync, before and after its rename, and before the oldest goes;
# in an evaluation of one experience, in the Fisher pass, in an evaluation of all.
MOMENTS = ("write:2", "fsync:3", "replace:2", "fsync:2", "drop:2", "evaluate:2", "fisher:600", "evaluate:9")
SLOW = (pytest.mark.slow, pytest.mark.timeout(1200))


@pytest.fixture(
    scope="module",
    params=[pytest.param(CONFIG, id="ewc+lwf+replay"), pytest.param(MEMORIES, id="der++ +agem", marks=SLOW)],
)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A configuration to kill."""
    chosen: dict[str, Any] = request.param
    return chosen


@pytest.fixture(scope="module")
def never_killed(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> Path:
    """The cell of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("never")
    configure(folder, config)
    finish(folder, "run", "c.yaml", "run.dir=r")
    return cell(folder)


def again(folder: Path) -> tuple[str, ...]:
    return ("resume", "r") if (cell(folder) / "config.yaml").exists() else ("run", "c.yaml", "run.dir=r")


def assert_same_end(straight: Path, resumed: Path) -> None:
    assert_same(essence(newest(straight)), essence(newest(resumed)))
    for name in ("matrix.json", "log.csv"):
        assert (straight / name).read_text() == (resumed / name).read_text()


@pytest.mark.parametrize("kills", [pytest.param(1, marks=SLOW), pytest.param(18, marks=SLOW)])
def test_killed_at_random_moments(never_killed: Path, tmp_path: Path, config: dict[str, Any], kills: int) -> None:
    """Of training, evaluation or upkeep. Importing takes most of the time, and is no moment worth killing at."""
    configure(tmp_path, config)
    rng = random.Random(kills)
    for _ in range(kills):
        process = start(tmp_path, *again(tmp_path))
        wait_for_training(process, tmp_path, beyond=progress(tmp_path))
        time.sleep(rng.expovariate(1 / 0.12))
        assert process.poll() is None, "it finished before it could be killed: train for longer"
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    finish(tmp_path, *again(tmp_path))
    assert_same_end(never_killed, cell(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("config", [CONFIG], indirect=True, ids=["ewc+lwf+replay"])
def test_killed_at_chosen_moments(never_killed: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    configure(tmp_path, config)
    for moment in MOMENTS:
        process = start(
            tmp_path, *again(tmp_path), launcher=(str(Path(__file__).with_name("deadly.py")),), MOMENT=moment
        )
        output, _ = process.communicate(timeout=200)
        assert process.returncode == -signal.SIGKILL, f"{moment}: {output}"
    finish(tmp_path, "resume", "r")
    assert_same_end(never_killed, cell(tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop(never_killed: Path, tmp_path: Path, config: dict[str, Any], number: signal.Signals) -> None:
    """A checkpoint, exit code 130, a word on how to go on; and the same end."""
    configure(tmp_path, config, run={"checkpoint_steps": 1000})
    process = start(tmp_path, "run", "c.yaml", "run.dir=r")
    wait_for_training(process, tmp_path)
    os.kill(process.pid, number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "cl resume" in output
    finish(tmp_path, "resume", "r")
    assert_same_end(never_killed, cell(tmp_path))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("victim", ["first rank", "second rank"])
def test_one_of_two_ranks_is_killed(tmp_path: Path, victim: str) -> None:
    """The other stops within a bounded time, and the run resumes to the same end."""
    configure(tmp_path, TWO_RANKS)
    finish(tmp_path, "run", "c.yaml", "run.dir=s")
    process = start(tmp_path, "run", "c.yaml", "run.dir=r")
    wait_for_training(process, tmp_path, beyond=2000)
    first, second = ranks(process)
    os.kill(first if victim == "first rank" else second, signal.SIGKILL)
    process.communicate(timeout=90)  # ends when the pipe does: no rank is left behind
    assert process.returncode != 0
    finish(tmp_path, "resume", "r")
    assert_same_end(cell(tmp_path, "s"), cell(tmp_path, "r"))
