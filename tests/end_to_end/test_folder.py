"""A run folder: the union of its cells, shared by processes, on one and the same data; looked at and cleaned."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock

import cl.runs.cell
import cl.runs.prepare
from cl.config import Config, load
from cl.runs.grid import run
from cl.streams.stream import Stream
from cl.system.state import State, state_of
from cl.types import UserError

Run = Any
TWO = "strategies={finetune: {}, remember: {replay: {capacity: 8, batch_size: 4}}}"
FRAGILE = "strategies={fragile: {fragile.Fragile: {}}}"
CORPORA = """
stream:
  scenario: domain
  root: .
  corpora:
    - {name: shop, kind: sequence, format: tsv, text: 0, label: 1, train: shop.tsv, valid: test.tsv, test: test.tsv}
    - {name: film, kind: sequence, format: tsv, text: 0, label: 1, train: film.tsv, valid: test.tsv, test: test.tsv}
"""


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def states(folder: Path) -> dict[str, str]:
    return {str(f.parent.relative_to(folder)): read(f)["name"] for f in sorted(folder.glob("*/*/state.json"))}


# ---------------------------------------------------------------------------------- the union of all cells


def test_resume_covers_all_that_was_ever_asked_for(cl_command: Run, folder: Path) -> None:
    (folder / "interrupted").write_text("0")
    assert cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE)[0] == 130
    assert cl_command("run", "tiny.yaml", "run.dir=out", "strategies={}", "seeds=1")[0] == 0
    assert states(folder / "out") == {"finetune/seed1": "finished", "fragile/seed0": "interrupted"}
    (folder / "interrupted").unlink()
    code, output = cl_command("resume", "out")
    assert code == 0
    assert "fragile seed 0 · learnt 3/3" in output and "finetune seed 1" not in output.split("| Strategy")[0]
    assert set(states(folder / "out").values()) == {"finished"}
    assert "nothing to do" in cl_command("resume", "out")[1]


def test_run_goes_on_with_unfinished_cells_and_others(cl_command: Run, folder: Path) -> None:
    (folder / "interrupted").write_text("0")
    assert cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE)[0] == 130
    (folder / "interrupted").unlink()
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE, "seeds=[0, 1]")
    assert code == 0
    assert "fragile seed 0 · learnt 1/3" not in output and "fragile seed 1 · learnt 1/3" in output
    assert states(folder / "out") == {"fragile/seed0": "finished", "fragile/seed1": "finished"}


def test_check_looks_at_the_run_folder_as_a_run_does(cl_command: Run, folder: Path) -> None:
    for split in ("evaluate.split=test", "evaluate.split=valid"):
        arguments = ("tiny.yaml", TWO, split, f"run.dir={split[-5:]}")
        assert cl_command("run", *arguments)[0] == 0
        code, output = cl_command("check", *arguments)
        assert code == 0 and "2 cell(s) would go to" in output and "2 of them finished there" in output
        assert cl_command("check", *arguments, "stream.seed=1")[0] == 2


def test_a_part_of_a_grid(cl_command: Run, folder: Path) -> None:
    code, output = cl_command("run", "tiny.yaml", TWO, "seeds=[0, 1]", "--only", "remember", "--seed", "1")
    assert code == 0
    assert states(folder / "runs" / "tiny") == {"remember/seed1": "finished"}
    code, output = cl_command("run", "tiny.yaml", TWO, "--only", "finetine")
    assert code == 2
    assert "--only finetine: it chooses among the strategies of the configuration" in output
    assert "Did you mean 'finetune'?" in output
    assert cl_command("run", "tiny.yaml", TWO, "--seed", "x")[0] == 2


def test_strategies_on_the_command_line_are_all_of_them(cl_command: Run, folder: Path) -> None:
    (folder / "two.yaml").write_text((folder / "tiny.yaml").read_text() + "strategies: {a: {}, b: {}}\n")
    assert list(load(folder / "two.yaml", ["strategies={c: {}}"]).strategies) == ["c"]
    assert list(load(folder / "two.yaml", ["strategies.c={}"]).strategies) == ["a", "b", "c"]


def test_keys_of_ones_own_and_a_single_seed(folder: Path) -> None:
    text = "x-common: &common {capacity: 8}\nseeds: 3\nstrategies: {a: {replay: *common}}\n"
    (folder / "own.yaml").write_text(text)
    config = load(folder / "own.yaml")
    assert config.seeds == [3]
    assert config.strategies == {"a": {"replay": {"capacity": 8}}}


# -------------------------------------------------------------------------- shared by several processes


def test_a_cell_of_another_process_is_left_to_it(cl_command: Run, folder: Path) -> None:
    """A second process takes the next free cell, and says what it left."""
    held = folder / "runs" / "tiny" / "finetune" / "seed0"
    held.mkdir(parents=True)
    State("running", 1, 3).write(held)
    shutil.copy(folder / "tiny.yaml", held / "config.yaml")
    with FileLock(held / ".lock"):
        code, output = cl_command("run", "tiny.yaml", TWO)
        assert code == 0
        assert f"left to other processes, which are running them: {held.relative_to(folder)}" in output
        assert "running" in cl_command("status", "runs/tiny")[1]
    assert states(folder / "runs" / "tiny") == {"finetune/seed0": "running", "remember/seed0": "finished"}
    assert "killed" in cl_command("status", "runs/tiny")[1]  # nobody holds it any more
    assert cl_command("run", "tiny.yaml", TWO)[0] == 0
    assert set(states(folder / "runs" / "tiny").values()) == {"finished"}


def test_what_another_process_finished_meanwhile_is_not_run_again(
    cl_command: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = cl.runs.cell.CellRun._learn
    other = folder / "runs" / "tiny" / "remember" / "seed0"

    def learn_while_others_work(self: Any, experience: Any) -> None:
        State("finished", 3, 3).write(other)
        learn(self, experience)

    monkeypatch.setattr(cl.runs.cell.CellRun, "_learn", learn_while_others_work)
    code, output = cl_command("run", "tiny.yaml", TWO)
    assert code == 0
    assert "remember seed 0 · learnt" not in output
    assert not (other / "matrix.json").exists()


def test_overwriting_discards_the_cells_asked_for_and_says_so(cl_command: Run, folder: Path) -> None:
    assert cl_command("run", "tiny.yaml", TWO)[0] == 0
    run_folder = folder / "runs" / "tiny"
    kept = (run_folder / "remember" / "seed0" / "matrix.json").stat().st_mtime_ns
    (run_folder / "finetune" / "seed0" / "old.txt").write_text("of the old run")
    code, output = cl_command("run", "tiny.yaml", TWO, "run.overwrite=true", "--only", "finetune")
    assert code == 0
    assert "discarded: finetune seed 0 (learnt 3/3)" in output
    assert not (run_folder / "finetune" / "seed0" / "old.txt").exists()
    assert (run_folder / "remember" / "seed0" / "matrix.json").stat().st_mtime_ns == kept


# ------------------------------------------------------------------------------- one and the same data


@pytest.fixture
def corpora(folder: Path) -> Path:
    """A stream of two corpora in files: `mine.yaml`."""
    rows = [f"{word} thing {i}\t{label}\n" for i in range(8) for word, label in (("good", "yes"), ("bad", "no"))]
    (folder / "shop.tsv").write_text("".join(rows))
    (folder / "film.tsv").write_text("".join(rows).replace("thing", "film"))
    (folder / "test.tsv").write_text("a good one\tyes\na bad one\tno\n")
    tiny = yaml.safe_load((folder / "tiny.yaml").read_text())
    (folder / "mine.yaml").write_text(yaml.safe_dump(tiny | yaml.safe_load(CORPORA)))
    return folder


def sort(text: str) -> str:
    return "".join(sorted(text.splitlines(keepends=True)))


def relabel(text: str) -> str:
    return text.replace("good thing 1\tyes", "good thing 1\tno")


def rewrite(text: str) -> str:
    return text.replace("thing 3", "something 3")


def shorten(text: str) -> str:
    return "".join(text.splitlines(keepends=True)[:-1])


CHANGES = [
    (sort, "the order of the examples of 'shop', split train"),
    (relabel, "the labels of 'shop', split train"),
    (rewrite, "the texts of 'shop', split train"),
    (shorten, "the examples (16 then, 15 now) of 'shop', split train"),
]


@pytest.mark.parametrize(("change", "said"), CHANGES)
def test_changed_data_is_not_mixed_in(cl_command: Run, corpora: Path, change: Any, said: str) -> None:
    """Neither by a resumed cell nor by a new one; the old data brought back is welcome."""
    (corpora / "interrupted").write_text("0")
    once = "strategies={fragile: {fragile.Fragile: {experience: 1}}}"
    assert cl_command("run", "mine.yaml", "run.dir=out", once)[0] == 130
    (corpora / "interrupted").unlink()
    file = corpora / "shop.tsv"
    before = file.read_text()
    file.write_text(change(before))
    for arguments in (("resume", "out"), ("run", "mine.yaml", "run.dir=out", "strategies={new: {}}")):
        code, output = cl_command(*arguments)
        assert code == 2
        assert f"the data is not what out/fragile/seed0 began with; changed: {said}" in output
    file.write_text(before.replace("\n", "\r\n"))  # the same content in other bytes
    assert cl_command("resume", "out")[0] == 0


def test_a_tokenizer_that_changed_is_found(cl_command: Run, corpora: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cl_command("run", "mine.yaml", "run.dir=out")[0] == 0
    monkeypatch.setattr(cl.runs.prepare.Store, "fingerprint", lambda self: "another")
    code, output = cl_command("run", "mine.yaml", "run.dir=out", "strategies={new: {}}")
    assert code == 2
    assert "changed: what the tokenizer makes of the same texts" in output


def test_a_custom_stream_that_changed_is_found(folder: Path) -> None:
    config = load(folder / "tiny.yaml", ["run.dir=out"])
    run(config, stream=cl.runs.streams.build_stream(config.stream))
    other = load(folder / "tiny.yaml", ["stream.seed=1"]).stream
    config.strategies = {"new": {}}
    with pytest.raises(UserError, match="the texts and labels of 'books', split train"):
        run(config, stream=Stream(cl.runs.streams.build_stream(other).experiences))


def test_a_report_is_of_one_data(cl_command: Run, folder: Path) -> None:
    assert cl_command("run", "tiny.yaml", "run.dir=a")[0] == 0
    assert cl_command("run", "tiny.yaml", "run.dir=b", "stream.seed=1")[0] == 0
    assert cl_command("run", "tiny.yaml", "run.dir=c", "stream.limit={train: 12}")[0] == 0
    assert cl_command("run", "tiny.yaml", "run.dir=d", "training.batch_size=4")[0] == 0
    for other, said in (("b", "the texts and labels of 'books'"), ("c", "the examples (16 then, 12 now) of 'books'")):
        code, output = cl_command("report", "a", other)
        assert code == 2
        assert "runs on different data need a report each" in output and said in output
    assert cl_command("report", "a", "d")[0] == 0
    (folder / "d" / "finetune" / "seed0" / "data.json").unlink()  # as an earlier edition left it
    code, output = cl_command("report", "a", "d")
    assert code == 0
    assert "no record of their data: d/finetune/seed0" in output


def test_the_folder_of_an_earlier_edition(cl_command: Run, folder: Path) -> None:
    """Can be reported on, and is not gone on with."""
    assert cl_command("run", "tiny.yaml", "run.dir=out")[0] == 0
    cell = folder / "out" / "finetune" / "seed0"
    (cell / "state.json").unlink()
    (cell / "data.json").unlink()
    assert cl_command("report", "out")[0] == 0
    for arguments in (("resume", "out"), ("run", "tiny.yaml", "run.dir=out", "seeds=1")):
        code, output = cl_command(*arguments)
        assert code == 2
        assert "was run by an earlier edition" in output


# ------------------------------------------------------------------------------------- where it is seen from


def test_relative_paths_mean_the_same_from_anywhere(
    cl_command: Run, corpora: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (corpora / "interrupted").write_text("0")
    once = "strategies={fragile: {fragile.Fragile: {experience: 1}}}"
    assert cl_command("run", "mine.yaml", "run.dir=out", once)[0] == 130
    (corpora / "interrupted").unlink()
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "shop.tsv").write_text("not this\tone\n")
    monkeypatch.chdir(elsewhere)
    code, output = cl_command("resume", os.path.relpath(corpora / "out"))
    assert code == 0, output
    assert set(states(corpora / "out").values()) == {"finished"}


# ---------------------------------------------------------------------------------- looking and cleaning


def test_what_stays_on_disk(cl_command: Run, folder: Path) -> None:
    counts = {}
    for keep in ("final", "none", "all"):
        assert cl_command("run", "tiny.yaml", f"run.dir={keep}", f"run.keep={keep}", "run.checkpoint_steps=1")[0] == 0
        files = sorted((folder / keep / "finetune" / "seed0" / "checkpoints").glob("*.pt"))
        counts[keep] = [file.name.split("-")[0] for file in files]
    assert counts == {"final": ["e0003"], "none": [], "all": ["e0001", "e0002", "e0003"]}
    assert "nothing to do" in cl_command("run", "tiny.yaml", "run.dir=none", "run.keep=none")[1]

    output = cl_command("status", "all")[1]
    assert "1 cell(s): 1 finished" in output
    code, output = cl_command("clean", "all")
    assert code == 0 and "freed" in output
    assert not (folder / "all" / "finetune" / "seed0" / "checkpoints").exists()
    assert "nothing to do" in cl_command("resume", "all")[1]
    code, output = cl_command("status", "nowhere")
    assert code == 2 and "no run is here" in output


def test_cleaning_leaves_unfinished_cells_alone(cl_command: Run, folder: Path) -> None:
    (folder / "interrupted").write_text("0")
    assert cl_command("run", "tiny.yaml", "run.dir=out", FRAGILE)[0] == 130
    cl_command("clean", "out")
    assert list((folder / "out" / "fragile" / "seed0" / "checkpoints").glob("*.pt"))


def test_a_damaged_state_is_told(cl_command: Run, folder: Path) -> None:
    assert cl_command("run", "tiny.yaml", "run.dir=out")[0] == 0
    (folder / "out" / "finetune" / "seed0" / "state.json").write_text('{"nam": 1}')
    code, output = cl_command("status", "out")
    assert code == 2 and "state.json: damaged" in output


def test_the_version(cl_command: Run) -> None:
    code, output = cl_command("--version")
    assert code == 0 and output.strip() == cl.__version__


# ------------------------------------------------------------------------------------------ from Python


def test_a_configuration_made_in_python(folder: Path) -> None:
    """Has the defaults of one from a file, and is checked as it is."""
    config = load(folder / "tiny.yaml")
    made = Config(stream=config.stream, network=config.network, wandb=config.wandb, trainer={"accelerator": "cpu"})
    made.trainer["max_epochs"] = 1
    run(made)
    assert state_of(folder / "runs" / "run" / "finetune" / "seed0") is not None
    assert not (folder / "None").exists()
    for section, key, value, said in (
        ("training", "batch_size", 0, "training.batch_size is 0"),
        ("training", "batch_size", "many", "training.batch_size: is 'many': give a whole number"),
        ("stream", "limit", {"tests": 3}, "stream.limit.tests: there is no such split"),
    ):
        wrong = load(folder / "tiny.yaml")
        setattr(getattr(wrong, section), key, value)
        with pytest.raises(UserError, match=said):
            run(wrong)


# ------------------------------------------------------------------------------------- what a cell records


def test_warnings_stay_in_the_folder_and_in_the_report(cl_command: Run, corpora: Path) -> None:
    (corpora / "test.tsv").write_text("a good one\tyes\nbad film 1\tno\n")
    code, output = cl_command("run", "mine.yaml", "run.dir=out", "training.batch_size=4")
    assert code == 0
    said = "the same inputs stand in two splits: 2 of 2 test examples of shop in valid"
    assert output.count(said) == 1
    assert said in (corpora / "out" / "finetune" / "seed0" / "warnings.txt").read_text()
    from cl.reporting.cells import load_cells
    from cl.reporting.report import write_report

    assert said in write_report(load_cells([corpora / "out"]), corpora / "page").read_text()


@pytest.mark.parametrize("git", ["absent", "foreign"])
def test_a_commit_that_is_not_known_is_none(folder: Path, monkeypatch: pytest.MonkeyPatch, git: str) -> None:
    from cl.system import environment

    if git == "absent":
        monkeypatch.setenv("PATH", str(folder))
    else:  # installed inside somebody's repository
        package = folder / ".venv" / "cl"
        package.mkdir(parents=True)
        import subprocess

        subprocess.run(["git", "init", "-q", str(folder)], check=True)
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        subprocess.run(["git", "-C", str(folder), *identity, "commit", "-qm", "x", "--allow-empty"], check=True)
        monkeypatch.setattr(environment, "HERE", package)
    found = environment.environment(0)
    assert found["commit"] is None and found["changed_since_commit"] is None
