import json
import os
import struct
from types import SimpleNamespace
from unittest.mock import MagicMock

import pytest
import wandb as wb
from fake_cells import fake_matrix
from fake_wandb import warned
from wandb.proto import wandb_internal_pb2 as proto

from cl.config import WandbConfig
from cl.reporting import wandb as sink_module
from cl.reporting.wandb import WandbSink, choose_mode, open_logger
from cl.system.files import write_text

BLOCK = 32768
NAMES = ("books", "<b> x*")


@pytest.fixture(autouse=True)
def nobody_is_logged_in(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("WANDB")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked for something"))
    yield
    wb.teardown()


def records(path):
    """The records of an offline run: LevelDB's log format after a header of seven bytes."""
    data, position, parts = path.read_bytes(), 7, b""
    while position + 7 <= len(data):
        if BLOCK - position % BLOCK < 7:
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + 7])
        parts += data[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = proto.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record.WhichOneof("record_type"), record


def items(found):
    return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in found}


def test_an_offline_run_holds_everything(tmp_path, capsys):
    write_text(tmp_path / "wandb" / "id", "abc123")
    sink = open_logger(tmp_path, project="cl", name="ewc", config={"seeds": [0, 1]}, tags=["toy"])
    assert sink.logger is not None and os.environ.get("WANDB_MODE") is None
    assert f"wandb sync {sink.sync_dir}" in capsys.readouterr().out
    sink.write(0, 0, 7, {"loss": 0.5, "loss/labels": 0.4})
    matrix = fake_matrix("ewc", 0, NAMES, num_learnt=1)
    sink.log_row(matrix)
    matrix = fake_matrix("ewc", 0, NAMES)
    sink.log_row(matrix)
    sink.finish(matrix)
    wb.teardown()  # ends the process that writes the file

    found = list(records(next(tmp_path.glob("wandb/offline-run-*/run-abc123.wandb"))))
    history = [items(record.history.item) for kind, record in found if kind == "history"]
    training, first, second = history[:3]
    assert (training["loss/labels"], training["step"], training["experience"]) == (0.4, 7, 0)
    assert first["score/books"] == matrix.array()[0, 0] and first["experience"] == 0
    assert "forgetting" not in first  # one experience cannot be forgotten yet
    assert second["score/<b> x*"] == matrix.array()[1, 1] and second["experience"] == 1

    axes = {r.metric.name or r.metric.glob_name: r.metric.step_metric for kind, r in found if kind == "metric"}
    assert axes["score/*"] == axes["average_score"] == axes["forgetting"] == "experience"
    assert axes["loss"] == axes["loss/labels"] == "step"

    config = {u.key: u.value_json for kind, r in found if kind == "run" for u in r.run.config.update}
    assert json.loads(config["seeds"]) == [0, 1]
    summary = {k: v for kind, r in found if kind == "summary" for k, v in items(r.summary.update).items()}
    assert summary["status"] == "finished" and summary["average_score"] == matrix.array()[-1].mean()
    table = json.loads(next(tmp_path.glob("wandb/offline-run-*/files/media/table/*.json")).read_text())
    assert table["columns"] == ["after", "0 books", "1 <b> x*"]
    assert table["data"][1][1:] == matrix.array()[1].tolist()
    assert list(tmp_path.glob("wandb/offline-run-*/files/media/images/*.png"))


def test_the_mode_never_asks_for_a_login(monkeypatch, tmp_path):
    assert choose_mode(None) == "offline"
    with warned("wandb login"):
        assert choose_mode("online") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert choose_mode(None) == choose_mode("online") == "online"
    assert choose_mode("offline") == "offline"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert choose_mode(None) == "disabled"
    assert open_logger(tmp_path / "run", project="cl", name="x").logger is None


def test_disabled_and_other_ranks_log_nothing(tmp_path, monkeypatch):
    sink = open_logger(tmp_path, project="cl", name="x", mode="disabled")
    sink.write(0, 0, 0, {"loss": 1.0})
    sink.log_row(fake_matrix("ewc", 0, NAMES))
    sink.finish(fake_matrix("ewc", 0, NAMES))
    monkeypatch.setattr(sink_module.rank_zero_only, "rank", 1)
    assert open_logger(tmp_path, project="cl", name="x").logger is None
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
        sink = open_logger(tmp_path, project="cl", name="x")
    assert sink.logger is None


def started(folder, **options):
    """The run record of an offline run that was opened with these options."""
    open_logger(folder, name="ewc seed 0", mode="offline", **options).finish(fake_matrix("ewc", 0, NAMES))
    wb.teardown()
    kinds = records(next(folder.glob("wandb/offline-run-*/run-*.wandb")))
    return next(record.run for kind, record in kinds if kind == "run")


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
    run = started(tmp_path, project=options.project, entity=options.entity, tags=options.tags, group="c")
    assert said_of(run) == ("my-ner-study", "my-lab", ["a100", "cluster"], "ablation", "hello", "night shift", "train")


def test_what_the_configuration_says_beats_the_variables(tmp_path, monkeypatch):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    assert said_of(started(tmp_path, project="p", entity="e", tags=["t"]))[:3] == ("p", "e", ["t"])


def test_without_either_there_are_defaults(tmp_path):
    run = started(tmp_path, group="c")
    assert said_of(run) == ("cl", "", [], "c", "", "ewc seed 0", "")


def test_variables_that_cannot_hold_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    with warned("WANDB_RUN_ID does not hold here"):
        assert started(tmp_path).run_id != "mine"
