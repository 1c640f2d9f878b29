"""A finished cell answers for texts as the evaluator scored it, without the data that it was trained on."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import cl
import cl.runs.grid
from cl.config import RunConfig
from cl.evaluation.predictions import load
from cl.runs.export import export
from cl.runs.grid import run
from cl.runs.inputs import read_inputs
from cl.runs.predict import Predictor, _tags, write_answers
from cl.runs.restored import restored
from cl.runs.streams import build_stream
from cl.streams.stream import Stream
from cl.testing.tiny import tiny_config
from cl.types import UserError

FREEZING = {"probe": {"probe": {}}}


def trained(folder: Path, name: str, strategies: dict[str, Any], own: bool = False, **changes: Any) -> Stream:
    """Trains a tiny stream and keeps what was predicted; the stream."""
    config = tiny_config(name, strategies=strategies, run=RunConfig(dir=str(folder)), seeds=[0])
    config.trainer["max_epochs"] = 2
    config.evaluate = replace(config.evaluate, predictions=True)
    config.network = replace(config.network, **changes)
    stream = build_stream(config.stream)
    if own:
        stream = Stream([replace(e, candidates="own") for e in stream])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cl.runs.grid, "write_report", lambda cells, folder: folder / "report.html")
        run(config, stream=stream)
    return stream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stream]:
    """Both kinds; long texts are read in windows; and a backbone that never trains."""
    path = tmp_path_factory.mktemp("runs") / "mixed"
    strategies = {"finetune": {}, "independent": {"independent": {}}, **FREEZING}
    return path, trained(path, "mixed", strategies, max_length=8, overflow="split")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Stream]:
    """Each experience has candidates of its own; long texts are cut off, and words are read at their ends."""
    path = tmp_path_factory.mktemp("runs") / "own"
    return path, trained(path, "own", {"finetune": {}}, own=True, max_length=8, word="last")


def said(predictor: Predictor, split: Any) -> tuple[list[str], list[float]]:
    """What is predicted of each target of a split, and how probable it is."""
    sequence = split.kind == "sequence"
    answers = list(predictor([sample["text" if sequence else "tokens"] for sample in split]))
    if sequence:
        return [answer["label"] for answer in answers], [answer["probability"] for answer in answers]
    pairs = [pair for answer in answers for pair in zip(answer["tags"], answer["probabilities"], strict=True)]
    return [tag for tag, _ in pairs], [p or 0.0 for _, p in pairs]


def evaluated(cell: Path, stream: Stream, e: int, outside: str = "O") -> tuple[list[str], np.ndarray]:
    """The same, as the evaluator kept it after the last experience."""
    arrays = load(cell, len(stream) - 1)
    names = restored(cell).learner.network.classes[stream[e].kind]
    prefix = f"{stream[e].name}/" if stream[e].candidates == "own" else ""
    columns = [outside if c < 0 else names[c].removeprefix(prefix) for c in arrays[f"columns/{e}"]]
    return columns, arrays[f"probability/{e}"]


@pytest.mark.parametrize("strategy", ["finetune", "independent", "probe"])
def test_predictions_are_those_of_the_evaluator(folder: tuple[Path, Stream], strategy: str) -> None:
    path, stream = folder
    cell = path / strategy / "seed0"
    for e in stream:
        experience = e.name if strategy == "independent" else None
        found, sure = said(Predictor(cell, experience, e.kind), e.test)
        labels, probabilities = evaluated(cell, stream, e.index)
        assert found == labels
        np.testing.assert_allclose(sure, probabilities, atol=1e-3)  # kept as float16


def test_each_experience_competes_among_its_own_classes(own: tuple[Path, Stream]) -> None:
    path, stream = own
    cell = path / "finetune" / "seed0"
    for e in stream:
        found, sure = said(Predictor(cell, e.name), e.test)
        labels, probabilities = evaluated(cell, stream, e.index)
        assert found == labels and set(found) <= set(e.classes)
        np.testing.assert_allclose(sure, probabilities, atol=1e-3)
    with pytest.raises(UserError, match=r"competes among its own classes.*--experience NAME.*books"):
        Predictor(cell, kind="sequence")
    with pytest.raises(UserError, match=r"--experience bokos: no experience .*Did you mean 'books'"):
        Predictor(cell, "bokos", "sequence")


@pytest.mark.parametrize("last", [True, False])
def test_the_card_says_which_token_has_the_tag_of_a_word(
    own: tuple[Path, Stream], folder: tuple[Path, Stream], tmp_path: Path, last: bool
) -> None:
    path, stream = own if last else folder
    experience = next(e.name for e in stream if e.kind == "token") if last else None
    export(path / "finetune" / "seed0", tmp_path / "out", experience, "token")
    text = (tmp_path / "out" / "README.md").read_text()
    assert ("that of its last token" in text) == last
    assert ('aggregation_strategy="first"' in text) != last


def test_kept_predictions_give_the_scores_of_the_matrix(folder: tuple[Path, Stream]) -> None:
    """After each experience, also of those to come."""
    path, stream = folder
    cell = path / "finetune" / "seed0"
    matrix = cl.EvaluationMatrix.load(cell / "matrix.json").array()
    for learnt in range(len(stream)):
        arrays = load(cell, learnt)
        for e in (e.index for e in stream if e.kind == "sequence" and f"columns/{e.index}" in arrays):
            right = arrays[f"columns/{e}"] == arrays[f"gold/{e}"]
            assert right.mean() == pytest.approx(matrix[learnt, e])
            assert arrays[f"text/{e}"].tolist() == list(range(len(stream[e].test)))
    assert "columns/1" in load(cell, 0), "and of an experience to come whose classes are known"


def test_what_is_cut_off_has_no_tag(own: tuple[Path, Stream]) -> None:
    path, stream = own
    (entity,) = [e for e in stream if e.kind == "token"][:1]
    answer, short = Predictor(path / "finetune" / "seed0", entity.name)([["told"] * 20, ["told"]])
    assert answer["tags"][10:] == ["O"] * 10 and answer["probabilities"][10:] == [None] * 10
    assert short["probabilities"][0] > 0 and short["tokens"] == ["told"]


def test_entities_are_spans_of_words() -> None:
    """An I-x that nothing begins is no entity, and none reaches over the end of a text."""
    words = [["we", "met", "Ann", "Lee"], ["Rome", "Lee"]]
    names, tags = ["O", "B-per", "I-per", "B-loc"], [0, 2, 1, 2, 2, 3]
    found = torch.nn.functional.one_hot(torch.tensor(tags), 4) * 0.5
    first, second = _tags(words, found, names, torch.tensor([0, 0, 0, 0, 1, 1]))
    assert first["tags"] == ["O", "I-per", "B-per", "I-per"] and first["probabilities"] == [0.5] * 4
    assert first["entities"] == [{"type": "per", "start": 2, "end": 4, "text": "Ann Lee"}]
    assert second["entities"] == [{"type": "loc", "start": 1, "end": 2, "text": "Lee"}]


def test_a_mixed_cell_asks_what_a_text_is(folder: tuple[Path, Stream]) -> None:
    path, _ = folder
    predictor = Predictor(path / "finetune" / "seed0")
    assert "tags" in next(predictor([["we", "met", "Ann"]])), "words are words"
    of_words = Predictor(path / "finetune" / "seed0", kind="token")
    assert next(of_words(["we met Ann"]))["tokens"] == ["we", "met", "Ann"], "a text is taken apart at blanks"
    with pytest.raises(UserError, match=r"'我是安娜': this script has no blanks .* give them as \{\"tokens\": \[…\]\}"):
        list(of_words(["我是安娜"]))
    assert next(of_words(["我 是 安娜"]))["tokens"] == ["我", "是", "安娜"]
    with pytest.raises(UserError, match=r"'so good': the cell has learnt both .*--kind"):
        list(predictor(["so good"]))
    with pytest.raises(UserError, match=r"all classes compete in this cell.*leave it out"):
        Predictor(path / "finetune" / "seed0", "books")
    with pytest.raises(UserError, match=r"a network of its own.*--experience NAME"):
        Predictor(path / "independent" / "seed0", kind="sequence")


def test_restoring_draws_no_number_of_the_user(folder: tuple[Path, Stream]) -> None:
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    restored(folder[0] / "finetune" / "seed0")
    assert torch.rand(1) == expected


def test_a_cell_that_cannot_be_used(folder: tuple[Path, Stream], tmp_path: Path) -> None:
    import shutil

    shutil.copytree(folder[0] / "finetune", tmp_path / "run" / "finetune")
    cell = tmp_path / "run" / "finetune" / "seed0"
    with pytest.raises(UserError, match=r"holds 3 cells: name one of them"):
        restored(folder[0])
    state = (cell / "state.json").read_text()
    (cell / "state.json").write_text(state.replace("finished", "interrupted"))
    with pytest.raises(UserError, match=r"is interrupted, 4 of 4 .*cl resume"):
        restored(cell)
    (cell / "state.json").write_text(state)
    shutil.rmtree(cell / "checkpoints")
    with pytest.raises(UserError, match=r"has no checkpoint: run.keep was none"):
        restored(cell)


def read(folder: Path, name: str, text: str) -> list[Any]:
    (folder / name).write_text(text, encoding="utf-8")
    return list(read_inputs(folder / name))


def test_a_text_a_line_or_a_record(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read(tmp_path, "a.txt", "so good\n\n{not json\n") == ["so good", "{not json"]
    assert "blank lines have no answer, and are passed over: 1" in caplog.text
    records = '{"text": "so good"}\n{"tokens": ["we", "met"]}\n'
    assert read(tmp_path, "a.jsonl", records) == ["so good", ["we", "met"]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("so good", r"a.jsonl:2: no JSON"),
        ('{"txt": "so good"}', r"a.jsonl:2: holds the keys 'txt': give a record with either"),
        ('{"text": "a", "tokens": ["a"]}', r"a.jsonl:2: holds the keys"),
        ("[1]", r"a.jsonl:2: holds a list"),
        ('{"text": " "}', r"a.jsonl:2: `text` is ' '"),
        ('{"tokens": []}', r"a.jsonl:2: `tokens` is \[\]"),
    ],
)
def test_a_wrong_record_is_named(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(tmp_path, "a.jsonl", f'{{"text": "so good"}}\n{line}\n')


def test_answers_are_json_lines(tmp_path: Path) -> None:
    write_answers(iter([{"label": "gut, très"}, {"label": "b"}]), tmp_path / "out.jsonl")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["label"] for line in lines] == ["gut, très", "b"]


def test_an_error_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """It may be the very file that the texts are read from."""
    file = tmp_path / "texts.txt"
    file.write_text("so good\nso bad\n")
    write_answers(({"text": text} for text in read_inputs(file)), file)
    assert [json.loads(line)["text"] for line in file.read_text().splitlines()] == ["so good", "so bad"]

    def broken() -> Any:
        yield {"label": "a"}
        raise UserError("no more")

    with pytest.raises(UserError, match="no more"):
        write_answers(broken(), file)
    assert len(file.read_text().splitlines()) == 2


def test_standard_input_is_read_as_a_file_is() -> None:
    def asked(given: bytes) -> subprocess.CompletedProcess[bytes]:
        code = "from pathlib import Path; from cl.runs.inputs import read_inputs; print(list(read_inputs(Path('-'))))"
        return subprocess.run([sys.executable, "-c", code], input=given, capture_output=True)

    assert asked(b'\xef\xbb\xbf{"text": "so good"}\n').stdout == b"['so good']\n"
    assert b"UserError: standard input: is no UTF-8 text" in asked(b"so good\n\xff\xfe bad\n").stderr
