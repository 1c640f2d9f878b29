"""The path of somebody who comes with a CSV file: check, run, add seeds, stop, resume, report, predict, export, use."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Run = Any
CONFIG = """
stream:
  scenario: domain
  corpora:
    - {name: shop, kind: sequence, format: csv, text: review, label: stars, train: shop.csv}
    - {name: cafe, kind: sequence, format: csv, text: review, label: stars, train: cafe.csv}
network: {max_length: 16, scratch: {hidden: 16, layers: 1, heads: 2, vocabulary: 200}}
strategies:
  finetune: {}
  replay: {replay: {capacity: 10, batch_size: 4}}
  fragile: {fragile.Fragile: {experience: 1}}
seeds: [0, 1]
training: {batch_size: 8, learning_rate: 0.01}
trainer: {accelerator: cpu, max_epochs: 1}
evaluate: {predictions: true}
wandb: {mode: disabled}
"""
ELSEWHERE = """
import json, sys
from transformers import pipeline
answers = pipeline("text-classification", model=sys.argv[1], trust_remote_code=True)(sys.argv[2:], truncation=True)
assert "cl" not in sys.modules
print(json.dumps(answers))
"""


def write_reviews(file: Path, thing: str) -> None:
    words = {"5": ("lovely", "great", "fine"), "1": ("broken", "awful", "dull")}
    rows = [
        (f"number {i}: the {thing} was {word}", stars) for stars, of in words.items() for word in of for i in range(6)
    ]
    with file.open("w", newline="", encoding="utf-8") as lines:
        csv.writer(lines).writerows([("review", "stars"), *rows])


def outside(folder: Path, *arguments: str) -> str:
    """What another Python process prints."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "HF_HOME": str(folder / "hf")}
    done = subprocess.run([sys.executable, *arguments], env=environment, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.slow  # `make tour` runs it
def test_from_a_csv_file_to_a_model_in_use(cl_command: Run, folder: Path) -> None:
    (folder / "mine.yaml").write_text(CONFIG)
    for name in ("shop", "cafe"):
        write_reviews(folder / f"{name}.csv", name)

    code, said = cl_command("check", "mine.yaml")
    assert code == 0 and "shop" in said and "cafe" in said
    assert cl_command("run", "mine.yaml")[0] == 0
    outside(folder, "-m", "cl", "run", "mine.yaml", "seeds=[2]", "--only", "finetune")

    (folder / "interrupted").write_text("1")
    code, said = cl_command("run", "mine.yaml", "seeds=[3]", "--only", "fragile")
    assert code == 130 and "go on with: cl resume runs/mine" in said
    code, said = cl_command("predict", "runs/mine/fragile/seed3", "new.txt")
    assert code == 2 and "is interrupted, 1 of 2 experiences are learnt" in said
    (folder / "interrupted").unlink()
    assert cl_command("resume", "runs/mine")[0] == 0
    code, said = cl_command("status", "runs/mine")
    assert "8 cell(s): 8 finished" in said

    code, said = cl_command("report", "runs/mine/replay/seed1", "--out", "page")
    page = (folder / "page" / "report.html").read_text(encoding="utf-8")
    assert code == 0 and 'href="../runs/mine/replay/seed1/errors.txt">errors</a>' in page
    code, said = cl_command("errors", "runs/mine/replay/seed1")
    assert code == 0 and "Errors after cafe" in said and "shop: texts" in said

    texts = ["the cafe was great", "the shop was broken and dull"]
    (folder / "new.txt").write_text("\n".join(texts))
    code, said = cl_command("predict", "runs/mine/replay/seed1", "new.txt")
    answers = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and [answer["text"] for answer in answers] == texts
    assert cl_command("export", "runs/mine/replay/seed1", "exported")[0] == 0
    code, said = cl_command("export", "runs/mine/replay/seed1", "exported")
    assert code == 2 and "exported: something is there already" in said

    card = (folder / "exported" / "README.md").read_text(encoding="utf-8")
    for figure in ("shop → cafe", "scratch", "replay (", "seed: 1", "| cafe | sequence |", "trust_remote_code=True"):
        assert figure in card
    for ours, theirs in zip(answers, json.loads(outside(folder, "-c", ELSEWHERE, "exported", *texts)), strict=True):
        assert ours["label"] == theirs["label"] and abs(ours["probability"] - theirs["score"]) < 1e-6
