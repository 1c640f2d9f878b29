"""What users get wrong: exit code 2, where it is, what it is, the remedy, and no traceback; `cl check` tells all."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from cl.config import ToyConfig
from cl.models.backbone import scratch, word_pieces
from cl.models.options import Scratch

Run = Any
GOOD = "".join(f"text {i} of {label}\t{label}\n" for i in range(10) for label in ("yes", "no"))
NER = "".join(f"in O\nRome{n} B-place\n\nAnn{n} B-person\nsleeps O\n\n" for n in range(6))
REVIEWS = "{name: a, kind: sequence, format: tsv, text: 0, label: 1, train: a.tsv}"
NOT_TOY = "stream={{scenario: {}, toy: {{domains: 4, types: 3, num_train: 300, num_test: 200}}}}"
NAMES = "{name: n, kind: token, format: columns, train: n.txt}"


@pytest.fixture
def data(folder: Path) -> Path:
    """The folder with a good file of each kind."""
    (folder / "a.tsv").write_text(GOOD)
    (folder / "n.txt").write_text(NER)
    return folder


def stream(*corpora: str, **options: Any) -> str:
    """In place of the toy stream of `tiny.yaml`, whose options other scenarios refuse."""
    options = {"scenario": "domain", "toy": asdict(ToyConfig()), **options}
    return f"stream={json.dumps(options)[:-1]}, corpora: [{', '.join(corpora)}]}}"


def test_good_data_has_no_problem(cl_command: Run, data: Path) -> None:
    code, output = cl_command("check", "tiny.yaml", stream(REVIEWS, NAMES))
    assert code == 0, output
    assert "0 problem(s); 1 cell(s) would go to runs/tiny" in output
    rows = [line.split() for line in output.splitlines()]
    assert ["0", "a", "sequence", "14", "2", "4", "no,", "yes", "6/6/6", "0.0%/0.0%/0.0%", "0/0/0"] in rows
    assert any(row[:6] == ["1", "n", "token", "8", "2", "2"] for row in rows)
    assert "  0 a: tokens 84/12/24; classes 14/2/4: " in output
    assert "; entities 8/2/2: " in output


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("strategies={a: {ewx: {}}}", "strategies.a.ewx: there is no plugin 'ewx'. Did you mean 'ewc'?"),
        (
            "strategies={a: {ewc: {strenght: 1}}}",
            "strategies.a.ewc: there is no option 'strenght'. Did you mean 'strength'?",
        ),
        ("strategies={a: {ewc: {strength: much}}}", "strategies.a.ewc.strength: is 'much': give a number"),
        ("strategies={a: [ewc]}", "strategies.a: write a mapping of plugins"),
        ("strategies={a: {ewc: 3}}", "strategies.a.ewc: write a mapping of options"),
        ("strategies={a: {no.such.Plugin: {}}}", "strategies.a.no.such.Plugin: cannot import 'no.such.Plugin'"),
        ("strategies={a: {pathlib.Path: {}}}", "pathlib.Path is no subclass of cl.Plugin"),
        ("strategies={a: {replay: {policy: best}}}", "strategies.a.replay.policy: is 'best': give one of"),
        ("stream.scenario=clas", "stream.scenario: there is no scenario 'clas'. Did you mean 'class'?"),
        (NOT_TOY.format("my.scenario"), "stream.scenario: cannot import 'my.scenario'"),
        (NOT_TOY.format("math.pi"), "stream.scenario: math.pi is no function"),
        (NOT_TOY.format("math.sqrt"), "stream.scenario: math.sqrt is called without arguments, and there is missing"),
        (NOT_TOY.format("builtins.dict"), "stream.scenario: a dict is no Avalanche scenario"),
        (NOT_TOY.format("domain"), "stream.corpora is empty"),
        (
            "stream.corpora=[{name: a}]",
            "stream.corpora: the scenario toy does not read it, it is for domain, class, task, cfner",
        ),
        ("stream.toy={domains: 0, types: 0}", "stream.toy: domains and types are both 0"),
        (
            "stream.order=[books, nowhere]",
            "stream.order: no experience is called 'nowhere'; there are: books, kitchens",
        ),
        ("stream.limit={train: 1}", "has no training example; raise stream.limit.train"),
        ("trainer.accelerator=abacus", "trainer: lightning refuses it: You selected an invalid accelerator name"),
        ("trainer.precision=7", "trainer: lightning refuses it: Precision 7 is invalid"),
        ("training.batch_size=-1", "training.batch_size is -1"),
        ("network.backbone=empty", "network.backbone: the folder empty does not load as a transformers model"),
        (
            "network.backbone=nobody/nothing",
            "network.backbone: 'nobody/nothing' (no such folder here, so taken for a hub id)",
        ),
    ],
)
@pytest.mark.parametrize("command", ["run", "check"])
def test_mistakes_in_the_configuration(cl_command: Run, folder: Path, command: str, override: str, said: str) -> None:
    (folder / "empty").mkdir()
    code, output = cl_command(command, "tiny.yaml", override)
    assert code == 2
    assert said in output
    assert "Traceback" not in output
    assert not list(folder.glob("runs/**/*.json"))


@pytest.mark.parametrize(
    ("written", "corpora", "said"),
    [
        ({"a.tsv": ""}, [REVIEWS], "a.tsv: no examples in it"),
        ({"a.tsv": "good\tyes\nbad\n"}, [REVIEWS], "a.tsv:2: 1 column(s), but line 1 has 2"),
        ({"a.tsv": b"good\tyes\nb\xe4d\tno\n"}, [REVIEWS], "a.tsv:2: byte 10 (0xe4) is not utf-8. Set `encoding`"),
        ({"n.txt": "Rome B-place\nis X-place\n"}, [NAMES], "n.txt:2: 'X-place' is no tag of scheme `auto`"),
        ({"t.tsv": "x\tmaybe\n"}, [REVIEWS[:-1] + ", test: t.tsv}"], "a: test has examples of 'maybe' (1), which"),
        ({"n.txt": NER, "t.txt": "A B-thing\n"}, [NAMES[:-1] + ", test: t.txt}"], "of 'thing' (1)"),
        ({}, [REVIEWS.replace("a.tsv", "b.tsv")], "b.tsv: not found. Did you mean 'a.tsv'?"),
        ({}, [REVIEWS, REVIEWS], "two experiences are called 'a': give each corpus a name of its own"),
        ({}, [REVIEWS.replace("tsv,", "tvs,")], "corpora[0].format: there is no format 'tvs'. Did you mean 'tsv'?"),
        ({}, [REVIEWS.replace("sequence", "sentence")], "corpora[0].kind is 'sentence'; it is sequence or token"),
        ({}, [REVIEWS.replace("sequence", "token")], "corpus a is of kind 'token', but its format and options read"),
        ({}, [REVIEWS.replace("train:", "trian:")], "stream.corpora[0]: the key 'train' is missing"),
        ({}, [REVIEWS[:-1] + ", vaild: a.tsv}"], "corpora[0]: format tsv has no option 'vaild'. Did you mean 'valid'?"),
        ({}, [REVIEWS.replace("text: 0", "text: review")], "a.tsv:1: no column is named 'review'"),
    ],
)  # fmt: skip
def test_mistakes_in_data(
    cl_command: Run, data: Path, written: dict[str, str | bytes], corpora: list[str], said: str
) -> None:
    for name, content in written.items():
        (data / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    for command in ("check", "run"):
        code, output = cl_command(command, "tiny.yaml", stream(*corpora))
        assert code == 2
        assert said in output
        assert "Traceback" not in output


def test_class_incremental_options(cl_command: Run, data: Path) -> None:
    for options, said in (
        ({}, "stream.classes_per_experience is None: give a positive number"),
        ({"classes_per_experience": 0}, "stream.classes_per_experience is 0: give a positive number"),
        ({"classes_per_experience": [1, "x"]}, "stream.classes_per_experience is [1, 'x']"),
        ({"classes_per_experience": 1, "class_order": ["yes"]}, "stream.class_order leaves out no"),
    ):
        code, output = cl_command("check", "tiny.yaml", stream(REVIEWS, **{"scenario": "class", **options}))
        assert code == 2
        assert said in output


def test_check_tells_all_at_once(cl_command: Run, data: Path) -> None:
    (data / "b.tsv").write_text("")
    corpora = [REVIEWS.replace("a.tsv", "c.tsv"), REVIEWS.replace("a.tsv", "b.tsv")]
    overrides = ["strategies={x: {ewx: {}}, y: {lwx: {}}}", "network.backbone=nowhere", "trainer.accelerator=abacus"]
    code, output = cl_command("check", "tiny.yaml", stream(*corpora), *overrides)
    assert code == 2
    assert [line.split(":")[1].strip() for line in output.splitlines() if line.startswith("error: ")] == [
        "strategies.x.ewx", "strategies.y.lwx", "trainer", "c.tsv", "b.tsv", "network.backbone",
    ]  # fmt: skip
    assert "6 problem(s)" in output


def test_what_is_counted_and_warned_of(cl_command: Run, data: Path) -> None:
    (data / "t.tsv").write_text("text 0 of yes\tyes\n" + "word " * 50 + "\tno\n")
    code, output = cl_command("check", "tiny.yaml", stream(REVIEWS[:-1] + ", test: t.tsv}"))
    assert code == 0
    assert "warning: the stream has one experience: nothing can be forgotten" in output
    assert "warning: the same inputs stand in two splits: 1 of 2 test examples of a in train" in output
    assert "warning: stream.drop_overlap=true keeps such copies in one split only" in output
    row = next(line for line in output.splitlines() if line.startswith(" 0  a"))
    assert row.split()[-3:] == ["6/6/52", "0.0%/0.0%/50.0%", "0/0/30"]  # one of 22 was cut off at network.max_length
    assert "(4.5%) are cut off at network.max_length" in output
    corpus = stream(REVIEWS[:-1] + ", test: t.tsv}")
    code, output = cl_command("check", "tiny.yaml", corpus, "network.overflow=split")
    assert code == 0
    assert "in 18/2/3 windows; classes 18/2/2:" in output
    assert "cut off at" not in output

    (data / "n.txt").write_text(NER + "\u200b O\nParis I-place\n")  # a token of which no sub-token is left
    strict = NAMES[:-1] + ", scheme: bio}"
    code, output = cl_command("check", "tiny.yaml", stream(strict, hold_out={"valid": 0.1, "test": 0.1}))
    assert code == 0
    assert "continue an entity that never began" in output
    row = next(line for line in output.splitlines() if line.startswith(" 0  n"))
    assert row.split()[-1] == "1/0/0"

    code, output = cl_command("run", "tiny.yaml", stream(REVIEWS[:-1] + ", test: t.tsv}"))
    assert code == 0  # a stream of one experience works
    assert "1 of 2 test examples of a in train" in output


def test_a_backbone_sets_the_greatest_length(cl_command: Run, folder: Path) -> None:
    tokenizer = word_pieces(["some text"], 100)
    model = scratch(Scratch(hidden=16, layers=1, heads=2), tokenizer, max_length=24)
    model.model.save_pretrained(folder / "saved")
    tokenizer.save_pretrained(folder / "saved")
    arguments = ("check", "tiny.yaml", "network.backbone=saved")
    code, output = cl_command(*arguments)
    assert code == 2
    assert "error: network.max_length is 32, but saved takes 24 tokens at most: lower it" in output
    assert cl_command(*arguments, "network.max_length=24")[0] == 0


def test_early_stopping_needs_validation_examples(cl_command: Run, data: Path) -> None:
    arguments = ("tiny.yaml", stream(REVIEWS, hold_out={"valid": 0.0, "test": 0.2}))
    assert cl_command("check", *arguments)[0] == 0
    code, output = cl_command("check", *arguments, "training.patience=2")
    assert code == 2
    assert "a: no example in the valid split" in output
