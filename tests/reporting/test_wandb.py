import json
import os
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import wandb as wb
from fake_cells import fake_matrix
from fake_wandb import warned
from offline_wandb import read_offline

from cl.config import WandbConfig
from cl.reporting.wandb import opening
from cl.reporting.wandb.opening import About, choose_mode, open_logger
from cl.reporting.wandb.sink import WandbSink, score_keys
from cl.system.files import write_text

NAMES = ("books", "<b> x*")


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked for something"))
    yield
    wb.teardown()


def test_an_offline_run_holds_everything(tmp_path, capsys):
    write_text(tmp_path / "wandb" / "id", "abc123")
    sink = open_logger(tmp_path, About("ewc", config={"ewc.strength": 1.0}, tags=["toy"]))
    assert sink.logger is not None and os.environ.get("WANDB_MODE") is None
    sink.write(0, 0, 7, {"loss": 0.5, "loss/labels": 0.4, "loss/der++": 0.1})
    matrix = fake_matrix("ewc", 0, NAMES, num_learnt=1)
    sink.log_row(matrix)
    matrix = fake_matrix("ewc", 0, NAMES)
    sink.log_row(matrix)
    costs = [{"train_seconds": 2.0, "stored_bytes": 30}, {"train_seconds": 3.0, "stored_bytes": 10}]
    sink.finish(matrix, cost=costs)
    said = capsys.readouterr()
    assert said.out == f"W&B is offline; upload with: wandb sync {sink.sync_dir}\n" and not said.err
    wb.teardown()  # ends the process that writes the file

    found = read_offline(tmp_path)
    training, first, second = found.history[:3]
    assert (training["loss/labels"], training["step"], training["experience"]) == (0.4, 7, 0)
    assert training["loss/der__"] == 0.1
    assert first["score/books"] == matrix.array()[0, 0] and first["experience"] == 0
    assert "forgetting" not in first  # one experience cannot be forgotten yet
    assert second["score/_b__x_"] == matrix.array()[1, 1] and second["experience"] == 1
    assert found.axes["score/*"] == found.axes["average_score"] == found.axes["forgetting"] == "experience"
    assert found.axes["loss"] == found.axes["loss/labels"] == "step"
    assert found.run.run_id == "abc123" and found.config["ewc.strength"] == 1.0
    assert found.summary["status"] == "finished" and found.summary["average_score"] == matrix.array()[-1].mean()
    assert (found.summary["cost/train_seconds"], found.summary["cost/stored_bytes"]) == (5.0, 30)
    table = json.loads(next(found.files.glob("media/table/matrix/table*.json")).read_text())
    assert table["columns"] == ["after", "0 books", "1 <b> x*"]
    assert table["data"][1][1:] == matrix.array()[1].tolist()
    assert list(found.files.glob("media/images/matrix/heat_map*.png"))


def test_experiences_have_names_that_wandb_can_sort_by():
    assert score_keys(["books", "news/politics", "Größe 2"]) == ["score/books", "score/news_politics", "score/Größe_2"]
    assert score_keys(["a b", "c", "A/b"]) == ["score/0_a_b", "score/1_c", "score/2_A_b"], "case makes no difference"


def test_the_mode_never_asks_for_a_login(monkeypatch, tmp_path):
    assert choose_mode(None) == "offline"
    with warned("wandb login"):
        assert choose_mode("online") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert choose_mode(None) == choose_mode("online") == "online"
    assert choose_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode(None) == "disabled"
    assert open_logger(tmp_path / "run", About("x")).logger is None


def test_disabled_and_other_ranks_log_nothing(tmp_path, monkeypatch):
    sink = open_logger(tmp_path, About("x"), "disabled")
    sink.write(0, 0, 0, {"loss": 1.0})
    sink.log_row(fake_matrix("ewc", 0, NAMES))
    sink.finish(fake_matrix("ewc", 0, NAMES))
    monkeypatch.setattr(opening.rank_zero_only, "rank", 1)
    assert open_logger(tmp_path, About("x")).logger is None
    assert not list(tmp_path.iterdir())


def test_every_row_has_a_number_of_its_own():
    """Two steps and a row of scores an experience: numbers go up by one, and those before the first are left out."""
    for first in (0, 4):
        run = MagicMock()
        sink = WandbSink(SimpleNamespace(experiment=run))
        sink._first = first
        for experience in range(2):
            for step in (1, 2):
                sink.write(experience, 0, 2 * experience + step, {"loss": 0.5})
            sink.log_row(fake_matrix("ewc", 0, NAMES, num_learnt=experience + 1))
        assert [call.kwargs["step"] for call in run.log.call_args_list] == [
            number for number in range(1, 7) if number >= first
        ]


def test_a_failure_is_said_once_and_stops_nothing(caplog):
    class Broken:
        def __getattr__(self, name):
            raise RuntimeError("the network is on fire")

    sink = WandbSink(Broken())
    for _ in range(3):
        sink.write(0, 0, 0, {"loss": 1.0})
    sink.finish(fake_matrix("ewc", 0, NAMES))
    said = [line for line in caplog.messages if "W&B" in line]
    assert len(said) == 1 and "the network is on fire" in said[0]


def test_a_run_that_cannot_start_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(wb, "init", lambda **_: (_ for _ in ()).throw(wb.Error("no disk")))
    with warned("no disk"):
        sink = open_logger(tmp_path, About("x"))
    assert sink.logger is None


def started(folder, **options):
    """The run record of an offline run that was opened with these options."""
    open_logger(folder, About("ewc seed 0", **options), "offline").finish(fake_matrix("ewc", 0, NAMES))
    wb.teardown()
    return read_offline(folder).run


VARIABLES = {
    "WANDB_PROJECT": "my-ner-study",
    "WANDB_ENTITY": "my-lab",
    "WANDB_TAGS": "cluster,a100",
    "WANDB_RUN_GROUP": "ablation",
    "WANDB_NOTES": "hello",
    "WANDB_NAME": "night shift",
    "WANDB_JOB_TYPE": "train",
}


def said_of(run):
    return run.project, run.entity, sorted(run.tags), run.run_group, run.notes, run.display_name, run.job_type


def test_variables_hold_where_the_configuration_says_nothing(tmp_path, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    options = WandbConfig()
    given = {"project": options.project, "entity": options.entity, "tags": options.tags}
    run = started(tmp_path, **given, group="c", job_type="ewc")
    assert said_of(run) == ("my-ner-study", "my-lab", ["a100", "cluster"], "ablation", "hello", "night shift", "train")


def test_what_the_configuration_says_beats_the_variables(tmp_path, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert said_of(started(tmp_path, project="p", entity="e", tags=["t"]))[:3] == ("p", "e", ["t"])


def test_without_either_there_are_defaults(tmp_path):
    run = started(tmp_path, group="c", job_type="ewc")
    assert said_of(run) == ("cl", "", [], "c", "", "ewc seed 0", "ewc")


@pytest.mark.parametrize(
    ("variable", "value"),
    [("RUN_ID", "mine"), ("RESUME", "must"), ("SWEEP_ID", "s"), ("FORK_FROM", "r?_step=1"), ("DIR", "there")],
)
def test_variables_that_cannot_hold_are_named(tmp_path, monkeypatch, variable, value):
    monkeypatch.setenv(f"WANDB_{variable}", value)
    with warned(f"WANDB_{variable} does not hold here"):
        run = started(tmp_path)
    assert run.run_id == (tmp_path / "wandb" / "id").read_text() and not run.sweep_id
