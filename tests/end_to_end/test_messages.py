"""What a stranger stumbled on: each message names the place, the likely mistake and the remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

Run = Any
CORPUS = "stream.corpora=[{name: a, kind: sequence, format: FORMAT, train: t.tsv, OPTIONS}]"


@pytest.fixture
def texts(folder: Path) -> Path:
    """The current folder, with some texts and a configuration that has no corpus yet."""
    lines = [f"text {i} of {label}\t{label}\n" for label in ("yes", "no") for i in range(10)]
    (folder / "t.tsv").write_text("".join(lines))
    tiny = (folder / "tiny.yaml").read_text().splitlines()
    (folder / "files.yaml").write_text("\n".join(["stream: {scenario: domain, root: .}", *tiny[2:]]))
    return folder


@pytest.mark.parametrize(
    ("format", "options", "said"),
    [
        ("conll", "text: 0", "there is no format 'conll'. It is called 'columns' here."),
        (
            "columns",
            "text: 0",
            "format columns has no option 'text'. It is one of spans, csv, tsv, jsonl, json,",
        ),
        ("csv", "text: 0, label: 1", "The line holds tabs: take `format: tsv`."),
        (
            "tsv",
            "text: 0, label: 2",
            "so there is no column 2. They count from 0. The line has 'text 0 of yes', 'yes'.",
        ),
        (
            "tsv",
            "text: 1, label: 0",
            "there are 60 different labels for 60 examples, such as 'text 0 of yes': check which",
        ),
        ("tsv", "text: 0, label: 1, labels: {'yes': null, 'no': other}", "warning: a: 'other' is its only class"),
        (
            "tsv",
            "text: 0, label: 1, kind: token",
            "but its format and options read 'sequence'. Correct `kind` or `format`",
        ),
    ],
)
def test_about_corpora(cl_command: Run, texts: Path, format: str, options: str, said: str) -> None:
    if format == "tsv" and "label: 0" in options:  # enough of them to be no classes
        (texts / "t.tsv").write_text("".join(f"text {i} of yes\tyes\n" for i in range(60)))
    corpus = CORPUS.replace("FORMAT", format).replace("OPTIONS", options)
    corpus = corpus.replace("kind: sequence, ", "") if "kind: token" in options else corpus
    assert said in cl_command("check", "files.yaml", corpus)[1]


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("max_epochs=1", "Did you mean 'trainer.max_epochs'?"),
        ("training.batch_size=many", "training.batch_size: is 'many': give a whole number"),
        ("stream.hold_out=0.2", "stream.hold_out: write a mapping here, {key: value}"),
        (
            "stream.hold_out={valid: 0.5, test: 0.6}",
            "stream.hold_out takes 110% of train in all: leave some",
        ),
        ("strategies={a: {replay: {capacity: -5}}}", "capacity is at least 1, not -5"),
        (
            "stream.corpora=[{name: a, knd: token, format: columns, train: x}]",
            "the key 'kind' is missing: is 'knd' a misspelt kind?",
        ),
        (
            "stream.corpora=[{name: a, kind: token, format: columns, train: hree/x}]",
            "has no 'hree'. Did you mean 'here'? Check stream.root and the path.",
        ),
    ],
)
def test_about_the_configuration(cl_command: Run, texts: Path, override: str, said: str) -> None:
    (texts / "here").mkdir()
    code, output = cl_command("check", "files.yaml", override)
    assert code == 2 and said in output and "Traceback" not in output


def test_wrong_keys_are_told_at_once(cl_command: Run, folder: Path) -> None:
    (folder / "wrong.yaml").write_text("network: {max_lenght: 3}\ntraining: {batch_size: many}\n")
    code, output = cl_command("check", "wrong.yaml", "seedz=3")
    assert code == 2
    assert "wrong.yaml:1" in output and "max_lenght" in output and "wrong.yaml:2" in output and "seedz" in output
    (folder / "twice.yaml").write_text("strategies:\n  a: {}\n  a: {}\n")
    assert "Each key may stand once: two strategies need two names." in cl_command("check", "twice.yaml")[1]
    assert "it is a folder. Name a YAML file" in cl_command("check", str(folder))[1]


PLUGIN = """
from cl import Plugin
from dataclasses import dataclass

@dataclass
class Mine(Plugin):
    strength: float = 1.0

    def loss(self, tools, step):
        return RETURNED

class Bare(Plugin):
    strength: float = 1.0
"""


def test_plugins_of_ones_own(cl_command: Run, folder: Path) -> None:
    (folder / "mine.py").write_text(PLUGIN.replace("RETURNED", "3.0"))
    code, output = cl_command("check", "tiny.yaml", "strategies={a: {mine.Bare: {}}}")
    assert code == 2 and "mine.Bare has the field strength and no @dataclass above the class: add it" in output
    code, output = cl_command("run", "tiny.yaml", "strategies={a: {mine.Mine: {}}}")
    assert code == 1 and "plugin 'mine.Mine': loss returned a float: return a tensor of one number, or None" in output


def test_changed_code_is_told(cl_command: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a plugin, beside cells of its old code; comments and spaces are no change."""
    run = ("run", "tiny.yaml", "run.dir=out", "strategies={mine: {code.Mine: {}}}")

    def write(text: str) -> None:
        (folder / "code.py").write_text(text)
        monkeypatch.delitem(__import__("sys").modules, "code", raising=False)
        __import__("importlib").invalidate_caches()

    monkeypatch.syspath_prepend(str(folder))
    write(PLUGIN.replace("RETURNED", "None"))
    assert cl_command(*run)[0] == 0
    write("# a comment\n" + PLUGIN.replace("RETURNED", "None  # nothing"))
    assert "has changed" not in cl_command(*run)[1]
    write(PLUGIN.replace("RETURNED", "step.share(0.0 * step.outputs['sequence'].logits.sum())"))
    said = "code.Mine has changed since mine seed0 began: the table compares two versions"
    assert said in cl_command(*run)[1]
    cl_command(*run, "seeds=[1]")
    assert said in (folder / "out" / "mine" / "seed1" / "warnings.txt").read_text()
