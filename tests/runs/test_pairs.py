"""A cell that has learnt pairs of texts: its mistakes, its answers, its export."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import cl
import cl.runs.grid
from cl.config import StreamConfig
from cl.runs.export import export
from cl.runs.predict import Predictor
from cl.testing.tiny import tiny_config
from cl.types import Pair, UserError

WORDS = ("cup", "lamp", "rose", "coin")


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whether the second text says the same as the first; predictions are kept."""
    folder = tmp_path_factory.mktemp("pairs")
    lines = [
        json.dumps({"a": f"a {one}", "b": f"the {other}", "label": "yes" if one == other else "no"})
        for one in WORDS
        for other in WORDS
    ]
    (folder / "p.jsonl").write_text("\n".join(lines * 3))
    corpus: dict[str, Any] = {"name": "p", "kind": "sequence", "format": "jsonl", "text": ["a", "b"], "pair": True}
    corpus |= dict.fromkeys(("train", "valid", "test"), "p.jsonl")
    config = tiny_config("sequence")
    config.stream = StreamConfig(scenario="domain", root=str(folder), corpora=[corpus])
    config.run.dir, config.evaluate.predictions = str(folder / "run"), True
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cl.runs.grid, "write_report", lambda cells, folder: folder / "report.html")
        cl.run(config)
    return folder / "run" / "finetune" / "seed0"


def test_mistakes_show_both_texts(cell: Path) -> None:
    assert " | the " in (cell / "errors.txt").read_text()


def test_it_answers_for_pairs_alone(cell: Path) -> None:
    predictor = Predictor(cell)
    (answer,) = predictor([Pair("a cup", "the cup")])
    assert answer["label"] in ("yes", "no") and answer["text"] == ("a cup", "the cup")
    with pytest.raises(UserError, match="'a cup': the cell has learnt pairs"):
        list(predictor(["a cup"]))


def test_its_export_takes_token_types(cell: Path, tmp_path: Path) -> None:
    export(cell, tmp_path / "out")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        encoded = tokenizer("a cup", "the cup", return_tensors="pt")
        theirs = model(**encoded).logits[0].softmax(0)
        without = model(encoded["input_ids"]).logits[0].softmax(0)
    (answer,) = Predictor(cell)([Pair("a cup", "the cup")])
    ours = torch.tensor([answer["probabilities"][model.config.id2label[i]] for i in range(2)]).to(theirs)
    torch.testing.assert_close(theirs, ours, rtol=0, atol=1e-6)
    assert not torch.equal(theirs, without)
    assert '"text_pair": "another"' in (tmp_path / "out" / "README.md").read_text()
