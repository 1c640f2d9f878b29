import os

import numpy as np
import pytest

from cl.reporting.files import RunLog, read_log
from cl.system.files import read_json, write_json
from cl.types import UserError


def test_json_is_whole_or_old(tmp_path, monkeypatch):
    path = tmp_path / "metrics.json"
    write_json(path, {"status": "running", "metrics": {"forgetting": float("nan")}})
    assert read_json(path) == {"status": "running", "metrics": {"forgetting": None}}

    def crash(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, {"status": "finished"})
    assert read_json(path)["status"] == "running"


@pytest.mark.parametrize("text", ['{"a": ', "[1]", "\x00"])
def test_damaged_json_names_the_file(tmp_path, text):
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(UserError, match=r"metrics\.json"):
        read_json(path)


def test_log_resumes_without_double_rows(tmp_path):
    path = tmp_path / "log.csv"
    log = RunLog(path)
    log.write(0, 0, 1, {"loss": 0.1 + 0.2, "odd,\n\"name'": 1.0})
    position = log.position
    log.write(0, 0, 1, {"valid/score": 0.5})  # the same step, after the checkpoint
    log.flush()
    with path.open("a") as file:
        file.write("0,0,2,lo")  # killed in the middle of a row
    assert set(read_log(path)) == {"loss", "odd,\n\"name'", "valid/score"}

    resumed = RunLog(path)
    resumed.truncate(position)
    resumed.write(0, 0, 1, {"valid/score": 0.5})
    resumed.close()
    curves = read_log(path)
    assert curves["valid/score"][2].tolist() == [0.5]
    assert curves["loss"][2].tolist() == [0.1 + 0.2]  # to the last bit
    assert path.read_text().count("experience,epoch") == 1


def test_log_begins_anew_and_is_never_padded(tmp_path):
    log = RunLog(tmp_path / "log.csv")
    log.write(0, 0, 1, {"loss": float("inf")})
    log.truncate(10**6)
    assert np.isinf(read_log(tmp_path / "log.csv")["loss"][2]).all()
    log.truncate(0)
    log.close()
    assert (tmp_path / "log.csv").read_text() == "experience,epoch,step,name,value\n"


def test_damaged_log_names_the_line(tmp_path):
    (tmp_path / "log.csv").write_text("experience,epoch,step,name,value\n0,0,x,loss,1\n0,0,1,loss,1\n")
    with pytest.raises(UserError, match=r"log\.csv, line 2"):
        read_log(tmp_path / "log.csv")
