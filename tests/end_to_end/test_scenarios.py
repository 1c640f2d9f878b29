"""Each scenario trains from files to a matrix, a scenario of the user's own too; the command answers at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cl.config import load
from cl.runs.prepare import prepare
from cl.runs.streams import build_stream

Run = Any
OWN = """
from avalanche.benchmarks import benchmark_from_datasets
from avalanche.benchmarks.utils import AvalancheDataset

TEXTS = [{"text": f"{word} thing {i}", "label": word} for i in range(8) for word in ("good", "bad")]
TAGGED = [{"tokens": ["in", f"City{i}"], "tags": ["O", "B-place"]} for i in range(8)]


def scenario():
    train, test = ([AvalancheDataset([samples]) for samples in (TEXTS, TAGGED)] for _ in range(2))
    return benchmark_from_datasets(train=train, test=test)
"""


@pytest.fixture
def data(folder: Path) -> Path:
    """A file of texts with three topics, another with two, and one of sentences."""
    for name, topics in (("a", ("art", "law", "sea")), ("b", ("law", "war"))):
        lines = [json.dumps({"text": f"{topic} words {i}", "label": topic}) for i in range(12) for topic in topics]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    (folder / "n.txt").write_text("".join(f"in O\nRome{i} B-place\n\nAnn{i} B-person\n\n" for i in range(12)))
    (folder / "own.py").write_text(OWN)
    return folder


A = "{name: a, kind: sequence, format: jsonl, train: a.jsonl}"
B = "{name: b, kind: sequence, format: jsonl, train: b.jsonl}"
N = "{name: n, kind: token, format: columns, train: n.txt}"


@pytest.mark.parametrize(
    ("stream", "names"),
    [
        (f"scenario: domain, corpora: [{A}, {B}]", ["a", "b"]),
        (f"scenario: domain, corpora: [{A}, {N}], order: [n, a]", ["n", "a"]),
        (f"scenario: task, corpora: [{A}, {B}]", ["a", "b"]),
        (f"scenario: class, corpora: [{A}], classes_per_experience: 2", ["art+law", "sea"]),
        (f"scenario: class, corpora: [{N}], classes_per_experience: 1", ["person", "place"]),
        (f"scenario: task, corpora: [{B}, {N}], classes_per_experience: 1", ["b:law", "b:war", "n:person", "n:place"]),
        ("scenario: own.scenario", ["experience-0", "experience-1"]),
        ("scenario: own.scenario, order: [experience-1], limit: {train: 4}", ["experience-1"]),
    ],
)
def test_scenarios(cl_command: Run, data: Path, stream: str, names: list[str]) -> None:
    (data / "any.yaml").write_text((data / "tiny.yaml").read_text().replace("\nstream:", "\nx-stream:"))
    code, output = cl_command(
        "run", "any.yaml", "run.dir=runs/tiny", f"stream={{{stream}}}", "strategies={r: {replay: {capacity: 6}}}"
    )
    assert code == 0, output
    matrix = json.loads((data / "runs/tiny/r/seed0/matrix.json").read_text())
    assert [experience["name"] for experience in matrix["experiences"]] == names
    assert all(row[i] is not None for i, row in enumerate(matrix["scores"]["score"]))
    assert len(matrix["scores"]["score"]) == len(names)


def python(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_help_imports_nothing_heavy(folder: Path) -> None:
    program = """
import sys
from cl.cli import main
sys.argv = ["cl", "--help"]
try:
    main()
finally:
    print(sorted({"torch", "lightning", "transformers", "avalanche", "wandb", "numpy", "omegaconf"} & set(sys.modules)))
"""
    done = python(folder, "-c", program)
    assert done.returncode == 0, done.stderr
    assert "resume" in done.stdout
    assert done.stdout.splitlines()[-1] == "[]"


def test_it_runs_as_a_module(folder: Path) -> None:
    done = python(folder, "-m", "cl", "run", "tiny.yaml", "training.batch_size=0")
    assert done.returncode == 2
    assert done.stderr == "error: 'training.batch_size=0': training.batch_size is 0: give a number from 1 up\n"


def test_options_are_chosen_without_the_test_split(cl_command: Run, folder: Path) -> None:
    """`evaluate.split=valid` scores validation examples, and the text of no test example is ever encoded."""
    config = load(Path("tiny.yaml"), ["evaluate.split=valid"])
    prepared = prepare(config)
    store = prepared.evaluator.store
    for experience in build_stream(config.stream):
        assert store.splits[experience.index, "test"].tolist() == store.splits[experience.index, "valid"].tolist()
    num_examples = sum(len(split) for e in prepared.stream for split in (e.train, e.valid) if e.kind == "sequence")
    assert int((~store.is_token).sum()) == num_examples
    code, output = cl_command("run", "tiny.yaml", "run.dir=out", "evaluate.split=valid")
    assert code == 0
    assert "stand in" not in output
